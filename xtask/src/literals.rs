//! The string literals of Rust sources: tests hold the texts that parsers are tried on, parsers the words that they know.

use anyhow::{Result, anyhow};
use proc_macro2::{TokenStream, TokenTree};
use syn::Lit;

/// Gives what the string literals of a source stand for, in order.
pub(crate) fn of(source: &str) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    collect(source.parse().map_err(|error| anyhow!("{error}"))?, &mut found);
    Ok(found)
}

fn collect(tokens: TokenStream, found: &mut Vec<Vec<u8>>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect(group.stream(), found),
            TokenTree::Literal(literal) => match Lit::new(literal) {
                Lit::Str(text) => found.push(text.value().into_bytes()),
                Lit::ByteStr(bytes) => found.push(bytes.value()),
                _ => {}
            },
            _ => {}
        }
    }
}
