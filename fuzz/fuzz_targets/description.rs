//! No text makes the description parser panic. An accepted description can be quoted or displayed, and parsed again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_proto::description::{
    ClientDescription, DatagramClientDescription, DatagramServerDescription, Description, ServerDescription,
    quote_string_argument,
};

fuzz_target!(|text: &str| {
    let quoted: Description = format!("x:{}", quote_string_argument(text)).parse().unwrap();
    assert_eq!(quoted.positional()[0].value, text);

    match text.parse::<Description>() {
        Ok(description) => assert_eq!(requoted(&description), strip_offsets(&description)),
        Err(error) => assert!(text.is_char_boundary(error.offset())),
    }
    match text.parse::<ServerDescription>() {
        Ok(server) => assert_eq!(server.to_string().parse(), Ok(server)),
        Err(error) => assert!(text.is_char_boundary(error.offset())),
    }
    match text.parse::<DatagramServerDescription>() {
        Ok(server) => assert_eq!(server.to_string().parse(), Ok(server)),
        Err(error) => assert!(text.is_char_boundary(error.offset())),
    }
    match text.parse::<DatagramClientDescription>() {
        Ok(client) => assert_eq!(client.to_string().parse(), Ok(client)),
        Err(error) => assert!(text.is_char_boundary(error.offset())),
    }
    match text.parse::<ClientDescription>() {
        // A timeout is displayed in seconds as a float and may be rounded, so only the text is compared.
        Ok(client) => assert_eq!(reparsed(&client).to_string(), reparsed(&reparsed(&client)).to_string()),
        Err(error) => assert!(text.is_char_boundary(error.offset())),
    }
});

fn reparsed(client: &ClientDescription) -> ClientDescription {
    client.to_string().parse().unwrap()
}

type Parts = (String, Vec<String>, Vec<(String, String)>);

fn strip_offsets(description: &Description) -> Parts {
    let positional = description.positional().iter().map(|argument| argument.value.clone()).collect();
    let keyed = description.keyed().iter().map(|keyed| (keyed.key.value.clone(), keyed.argument.value.clone()));
    (description.name().value.clone(), positional, keyed.collect())
}

fn requoted(description: &Description) -> Parts {
    let mut text = quote_string_argument(&description.name().value).into_owned();
    for argument in description.positional() {
        text.push(':');
        text.push_str(&quote_string_argument(&argument.value));
    }
    for keyed in description.keyed() {
        let (key, value) = (&keyed.key.value, &keyed.argument.value);
        text.push_str(&format!(":{}={}", quote_string_argument(key), quote_string_argument(value)));
    }
    strip_offsets(&text.parse().unwrap())
}
