//! What comes over the links, sorted: consensus keeps its own frames, the rest goes to the layers above.

use call::NodeId;

/// Hears what other nodes sent for the layers above. Called on the node's thread; it passes on and does not
/// wait.
pub trait FrameSink: Send + Sync + 'static {
    /// A SIP message that reached another node has come.
    fn forwarded(&self, from: NodeId, bytes: Vec<u8>);

    /// A question, or the answer to one, has come.
    fn asked(&self, from: NodeId, bytes: Vec<u8>);
}

/// Nobody listens.
impl FrameSink for () {
    fn forwarded(&self, _: NodeId, _: Vec<u8>) {}

    fn asked(&self, _: NodeId, _: Vec<u8>) {}
}
