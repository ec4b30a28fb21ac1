//! Digest authentication, as SIP uses it (RFC 7616, RFC 8760, RFC 3261 §22): the arithmetic of both sides.
//!
//! A challenge keeps nothing: its nonce is a time and a number under the cluster's key ([`NonceKey`]), so that any node
//! can check what any other asked for. What a password leaves behind is its [`Ha1`]. A server checks a [`Claim`]
//! ([`check`]); a client answers a challenge ([`respond`]), for one peer alone ([`Credentials`]).
//!
//! Absent by design: SIP's bytes (`sip` reads and writes the header fields), who may be which user (`trunk`), and what
//! has been used already, which a quorum remembers.
//!
//! ```
//! use auth::{Algorithm, Ha1};
//!
//! let ha1 = Ha1::new("Mufasa", "http-auth@example.org", "Circle of Life");
//! assert_eq!(ha1.hex(Algorithm::Md5).len(), 32);
//! assert!(!format!("{ha1:?}").contains("Circle"));
//! ```

mod algorithm;
mod client;
mod ha1;
mod key;
mod nonce;
mod seal;
mod server;

pub use algorithm::Algorithm;
pub use client::{Credentials, Offered, Refusal, Response, respond};
pub use ha1::Ha1;
pub use key::derive;
pub use nonce::{NONCE_LIFETIME, Nonce, NonceKey, NonceText, Use};
pub use seal::Seal;
pub use server::{Checked, Claim, check};
