//! The common name of a certificate's subject.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::der::{self, OBJECT_IDENTIFIER, SEQUENCE, SET};

/// id-at-commonName, 2.5.4.3 (RFC 5280, appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;

/// The name, empty for a subject without one: such a certificate stands for a user who does not
/// exist. Of several the last counts, as with etcd.
pub(crate) fn common_name(certificate: &CertificateDer<'_>) -> String {
    let subject = EndEntityCert::try_from(certificate).ok();
    subject.and_then(|certificate| last_name(certificate.subject())).unwrap_or_default()
}

/// `None` also for a name that cannot be read: half of one must not stand for anybody.
fn last_name(mut subject: &[u8]) -> Option<String> {
    let mut found = None;
    while !subject.is_empty() {
        let mut set = der::expect(&mut subject, SET)?;
        while !set.is_empty() {
            let mut attribute = der::expect(&mut set, SEQUENCE)?;
            let kind = der::expect(&mut attribute, OBJECT_IDENTIFIER)?;
            let (tag, text) = der::next(&mut attribute)?;
            if kind == COMMON_NAME {
                found = Some(read_text(tag, text)?);
            }
        }
    }
    found
}

fn read_text(tag: u8, text: &[u8]) -> Option<String> {
    let known = [UTF8_STRING, PRINTABLE_STRING, TELETEX_STRING, IA5_STRING].contains(&tag);
    std::str::from_utf8(text).ok().filter(|_| known).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn certificate(name: impl FnOnce(&mut DistinguishedName)) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name = DistinguishedName::new();
        name(&mut params.distinguished_name);
        params.self_signed(&key).expect("a certificate").der().clone()
    }

    #[test]
    fn the_name_is_found_among_others() {
        let named = certificate(|name| {
            name.push(DnType::OrganizationName, "an organisation");
            name.push(DnType::CommonName, "alice ä");
            name.push(DnType::CountryName, "CH");
        });
        assert_eq!(common_name(&named), "alice ä");
        let printable = certificate(|name| {
            let text = rcgen::string::PrintableString::try_from("bob").expect("printable");
            name.push(DnType::CommonName, rcgen::DnValue::PrintableString(text));
        });
        assert_eq!(common_name(&printable), "bob");
    }

    #[test]
    fn a_certificate_without_a_name_has_an_empty_one() {
        assert_eq!(common_name(&certificate(|_| {})), "");
        let other = certificate(|name| name.push(DnType::OrganizationName, "root"));
        assert_eq!(common_name(&other), "");
        assert_eq!(common_name(&CertificateDer::from(vec![1, 2, 3])), "");
    }

    #[test]
    fn the_last_of_several_names_counts() {
        let attribute = |text: &str| {
            let parts = [
                der::value(OBJECT_IDENTIFIER, COMMON_NAME),
                der::value(UTF8_STRING, text.as_bytes()),
            ];
            der::value(SET, &der::value(SEQUENCE, &parts.concat()))
        };
        let both = [attribute("first"), attribute("last")].concat();
        assert_eq!(last_name(&both).as_deref(), Some("last"));
        let cut = &both[..both.len() - 1];
        assert_eq!(last_name(cut), None);
    }
}
