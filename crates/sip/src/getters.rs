//! What a call asks of a message, each read when it is asked for and each error naming its header.

use crate::address::NameAddr;
use crate::fields::{self, Contact, Credentials, MediaType, RAck, Reason, SessionExpires};
use crate::grammar::{number, seconds, trim};
use crate::uri::Uri;
use crate::via::Via;
use crate::{Message, Method, Name, ParseError};

impl<'a> Message<'a> {
    /// The Via that the last hop added (RFC 3261 §20.42).
    pub fn top_via(&self) -> Result<Via<'a>, ParseError> {
        let value = self.values(Name::Via).next().ok_or(ParseError::Missing(Name::Via))?;
        Via::parse(value).ok_or(ParseError::Malformed(Name::Via))
    }

    /// All Vias, the last hop's first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'a>, ParseError>> {
        self.values(Name::Via).map(|v| Via::parse(v).ok_or(ParseError::Malformed(Name::Via)))
    }

    /// Who sends the request (§20.20).
    pub fn from(&self) -> Result<NameAddr<'a>, ParseError> {
        self.address(Name::From)?.ok_or(ParseError::Missing(Name::From))
    }

    /// Whom the request is for (§20.39).
    pub fn to(&self) -> Result<NameAddr<'a>, ParseError> {
        self.address(Name::To)?.ok_or(ParseError::Missing(Name::To))
    }

    /// The tag of From; `None` for a peer of RFC 2543.
    pub fn from_tag(&self) -> Result<Option<&'a [u8]>, ParseError> {
        Ok(self.from()?.tag())
    }

    /// The tag of To; `None` outside a dialog.
    pub fn to_tag(&self) -> Result<Option<&'a [u8]>, ParseError> {
        Ok(self.to()?.tag())
    }

    /// Call-ID (§20.8).
    pub fn call_id(&self) -> Result<&'a [u8], ParseError> {
        let value = self.get(Name::CallId).ok_or(ParseError::Missing(Name::CallId))?;
        if fields::is_call_id(value) { Ok(value) } else { Err(ParseError::Malformed(Name::CallId)) }
    }

    /// CSeq (§20.16).
    pub fn cseq(&self) -> Result<(u32, Method<'a>), ParseError> {
        let value = self.get(Name::CSeq).ok_or(ParseError::Missing(Name::CSeq))?;
        fields::cseq(value).ok_or(ParseError::Malformed(Name::CSeq))
    }

    /// The Request-URI, read (§19.1).
    pub fn request_uri(&self) -> Result<Uri<'a>, ParseError> {
        let bytes = self.uri().ok_or(ParseError::RequestUri)?;
        Uri::parse(bytes).map_err(|_| ParseError::RequestUri)
    }

    /// The Contacts (§20.10).
    pub fn contacts(&self) -> impl Iterator<Item = Result<Contact<'a>, ParseError>> {
        self.values(Name::Contact).map(|v| fields::contact(v).ok_or(ParseError::Malformed(Name::Contact)))
    }

    /// The first Contact that is an address: the remote target of a dialog (§12.1).
    pub fn contact(&self) -> Result<Option<NameAddr<'a>>, ParseError> {
        match self.contacts().next().transpose()? {
            Some(Contact::Address(address)) => Ok(Some(address)),
            Some(Contact::All) | None => Ok(None),
        }
    }

    /// The Route set, next hop first (§20.34).
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'a>, ParseError>> {
        self.addresses(Name::Route)
    }

    /// The Record-Routes, in message order (§20.30).
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr<'a>, ParseError>> {
        self.addresses(Name::RecordRoute)
    }

    /// All values of a header whose values are addresses: P-Asserted-Identity, Remote-Party-ID, Diversion…
    pub fn addresses(&self, name: Name) -> impl Iterator<Item = Result<NameAddr<'a>, ParseError>> {
        self.values(name).map(move |v| NameAddr::parse(v).ok_or(ParseError::Malformed(name)))
    }

    /// A header whose single value is an address.
    pub fn address(&self, name: Name) -> Result<Option<NameAddr<'a>>, ParseError> {
        self.read(name, NameAddr::parse)
    }

    /// Max-Forwards, 0 to 255 (§20.22).
    pub fn max_forwards(&self) -> Result<Option<u8>, ParseError> {
        self.read(Name::MaxForwards, |v| u8::try_from(number(v)?).ok())
    }

    /// Content-Length, where it is given (§20.14).
    pub fn content_length(&self) -> Result<Option<u32>, ParseError> {
        self.read(Name::ContentLength, number)
    }

    /// Content-Type, where it is given (§20.15).
    pub fn content_type(&self) -> Result<Option<MediaType<'a>>, ParseError> {
        self.read(Name::ContentType, MediaType::parse)
    }

    /// Expires in seconds (§20.19).
    pub fn expires(&self) -> Result<Option<u32>, ParseError> {
        self.read(Name::Expires, seconds)
    }

    /// Session-Expires (RFC 4028 §4).
    pub fn session_expires(&self) -> Result<Option<SessionExpires>, ParseError> {
        self.read(Name::SessionExpires, fields::session_expires)
    }

    /// Min-SE in seconds (RFC 4028 §5).
    pub fn min_se(&self) -> Result<Option<u32>, ParseError> {
        self.read(Name::MinSe, |v| fields::delta(v).map(|(seconds, _)| seconds))
    }

    /// RSeq (RFC 3262 §7.1).
    pub fn rseq(&self) -> Result<Option<u32>, ParseError> {
        self.read(Name::RSeq, number)
    }

    /// RAck (RFC 3262 §7.2).
    pub fn rack(&self) -> Result<Option<RAck<'a>>, ParseError> {
        self.read(Name::RAck, fields::rack)
    }

    /// Retry-After in seconds (RFC 3261 §20.33).
    pub fn retry_after(&self) -> Result<Option<u32>, ParseError> {
        self.read(Name::RetryAfter, fields::retry_after)
    }

    /// The Reason values (RFC 3326).
    pub fn reasons(&self) -> impl Iterator<Item = Result<Reason<'a>, ParseError>> {
        self.values(Name::Reason).map(|v| fields::reason(v).ok_or(ParseError::Malformed(Name::Reason)))
    }

    /// The values of Privacy, which semicolons separate (RFC 3323 §4.2).
    pub fn privacy(&self) -> impl Iterator<Item = &'a [u8]> {
        self.all(Name::Privacy).flat_map(|v| v.split(|b| matches!(b, b';' | b','))).map(trim)
    }

    /// The lines of Authorization or Proxy-Authorization, or of the challenges, that can be read (§20.7, §20.28).
    pub fn credentials(&self, name: Name) -> impl Iterator<Item = Credentials<'a>> {
        self.all(name).filter_map(Credentials::parse)
    }

    /// The first line of a header through its reader.
    fn read<T>(&self, name: Name, reader: impl Fn(&'a [u8]) -> Option<T>) -> Result<Option<T>, ParseError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => reader(value).map(Some).ok_or(ParseError::Malformed(name)),
        }
    }
}
