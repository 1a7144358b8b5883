//! What a recipe lets pass, each with its reason.

use std::ops::Range;

use crate::walk::{self, Node, Walk};
use crate::{Code, Spanned, tables};

/// One `[[waive]]`: patches whose conflict does not stop the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// The bytes of the table in the recipe.
    pub span: Range<usize>,
    /// The pattern of the patches' names.
    pub patch: Spanned<String>,
    /// Whether what fits of such a patch is applied; else nothing of it is.
    pub what_fits: bool,
    /// Why.
    pub reason: Spanned<String>,
}

/// Reads `[[waive]]`.
pub(crate) fn waivers(walk: &mut Walk, node: &Node<'_>) -> Vec<Waiver> {
    let mut waivers = Vec::with_capacity(walk::count(node));
    for (table, span) in walk::tables(node) {
        let none = || Spanned::new(String::new(), span.clone());
        let mut waiver =
            Waiver { span: span.clone(), patch: none(), what_fits: false, reason: none() };
        walk.table(
            table,
            &span,
            &tables::WAIVE,
            &mut waiver,
            |waiver, walk, key, node| match key {
                "patch" => waiver.patch = walk::text(node),
                "apply" => waiver.what_fits = walk::text(node).value == "what-fits",
                "reason" => {
                    waiver.reason = walk::text(node);
                    if waiver.reason.trim().is_empty() {
                        walk.error(Code::WrongForm, &waiver.reason.span, "the reason is empty");
                    }
                }
                _ => walk::unread("waive", key),
            },
        );
        waivers.push(waiver);
    }
    walk.distinct("the waiver of", waivers.iter().map(|waiver| &waiver.patch));
    waivers
}
