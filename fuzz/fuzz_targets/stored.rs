//! The store's own texts: tree manifests; and configurations.
#![no_main]
use libfuzzer_sys::fuzz_target;
use osier_store::Tree;

fuzz_target!(|text: &str| {
    if let Ok(tree) = Tree::parse(text) {
        assert_eq!(Tree::parse(&tree.to_manifest()).expect("what is written can be read").digest(), tree.digest());
    }
    if let Ok(config) = osier_kconfig::Config::parse("config", text) {
        assert!(osier_kconfig::check(&osier_kconfig::merge(std::slice::from_ref(&config)), &config).is_empty());
    }
});
