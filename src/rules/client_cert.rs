//! What an origin is told of a client's certificate (RFC 9440).

use sfv::ItemSerializer;

/// The value of Client-Cert for a certificate in DER: a byte sequence (section 2.1).
pub fn value(certificate: &[u8]) -> String {
    ItemSerializer::new().bare_item(certificate).finish()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_certificate_is_told_as_a_byte_sequence() {
        assert_eq!(super::value(b"\x30\x82\x01"), ":MIIB:");
    }
}
