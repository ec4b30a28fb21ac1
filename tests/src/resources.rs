//! Resource files that scenarios share: one trunk that calls, one gateway that is called.

use std::net::SocketAddr;

use crate::node::Node;
use crate::sipp::Transport;

/// Where callers of [`office_and_carrier`] sit: the second address of the node's block.
pub fn caller(node: &Node) -> SocketAddr {
    (node.place().address(2), 5080).into()
}

/// Where its callees sit: the third address.
pub fn callee(node: &Node) -> SocketAddr {
    (node.place().address(3), 5070).into()
}

/// A trunk `office`, known by its address and limited to `concurrent` calls, and a gateway `carrier` for every number. It is
/// not asked by OPTIONS, which a SIPp that expects an INVITE counts as a failed call.
pub fn office_and_carrier(node: &Node, transport: Transport, concurrent: u32) -> String {
    let (office, carrier) = (caller(node).ip(), callee(node));
    let parameter = match transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
    };
    format!(
        "[[tenant]]\nname = \"house\"\n\n\
         [[gateway]]\nname = \"carrier\"\ntargets = [\"sip:{carrier}{parameter}\"]\n\
         networks = [\"{}/32\"]\nconcurrent = 100000\n[gateway.probe]\ninterval = \"0s\"\n\n\
         [[trunk]]\nname = \"office\"\ntenant = \"house\"\n\
         caller_ids = [\"+31201234567\"]\ndefault_caller_id = \"+31201234567\"\n\n\
         [trunk.access]\nnetworks = [\"{office}/32\"]\nauth = [\"address\"]\n\n\
         [trunk.limits]\nconcurrent = {concurrent}\nper_minute = 1000000\nper_hour = 10000000\n\
         per_day = 100000000\nper_week = 100000000\n",
        carrier.ip()
    )
}

/// A number that is nobody's, so that it goes to the gateway.
pub const FAR_NUMBER: &str = "+493012345678";
