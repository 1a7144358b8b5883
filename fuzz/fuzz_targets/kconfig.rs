//! Configurations and fragments: what is written is read as the same, and what is wished for honours itself.
#![no_main]
use libfuzzer_sys::fuzz_target;
use osier_kconfig::{Config, Value, amend, check, difference, merge};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let Ok(config) = Config::parse("config", &text) else { return };
    let values = |config: &Config| -> Vec<(String, Value)> {
        config.settings.iter().map(|(symbol, one)| (symbol.clone(), one.value.clone())).collect()
    };
    let again = Config::parse("again", &config.to_allconfig_text());
    assert_eq!(again.map(|again| values(&again)), Ok(values(&config)));
    assert_eq!(difference(&config, &config), "");
    let amended = Config::parse("amended", &amend(&text, &config));
    assert_eq!(amended.map(|amended| values(&amended)), Ok(values(&config)));

    let mut wanted = merge(std::slice::from_ref(&config));
    assert!(check(&wanted, &config).is_empty());
    // As if all of them were members of one choice.
    let all: Vec<&str> = config.settings.keys().map(String::as_str).collect();
    wanted.choose(&all.join(" "));
    let on = wanted.wishes.values().filter(|wish| wish.value == Value::Yes).count();
    assert!(on <= 1, "{on} members of a choice are on");
});
