//! Fields of a query or a form, as far as ours go: names, hexadecimal digits and base64url, which browsers send as they are.
//! Pure.

/// The value of the field `name` in `a=b&c=d`. A field that is there twice has none; what is percent-encoded is returned as
/// it is, and is no valid value of any field of ours.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter_map(|(key, value)| (key == name).then_some(value));
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_counts_where_it_is_there_once() {
        for (text, value) in [
            ("shell=db-1", Some("db-1")),
            ("namespace=team-a&shell=db-1&nonce=0", Some("db-1")),
            ("shell=", Some("")),
            ("shell=a=b", Some("a=b")),
            ("shell=a%2fb", Some("a%2fb")),
            ("", None),
            ("shell", None),
            ("shells=a", None),
            ("shell=a&shell=b", None),
        ] {
            assert_eq!(field(text, "shell"), value, "{text}");
        }
    }
}
