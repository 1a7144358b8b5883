//! A small map by name.

/// Values by name, sorted, in one allocation.
///
/// A B-tree gives the first entry room for eleven; ten thousand recipes are held at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<T>(Box<[(String, T)]>);

impl<T> Named<T> {
    /// Finds a value.
    pub fn get(&self, name: &str) -> Option<&T> {
        let at = self.0.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// Whether there is a value of that name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &T)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<T> FromIterator<(String, T)> for Named<T> {
    /// Of several values of one name the first stays.
    fn from_iter<I: IntoIterator<Item = (String, T)>>(values: I) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(|a, b| a.0.cmp(&b.0));
        values.dedup_by(|later, first| later.0 == first.0);
        Self(values.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_sorted_and_found() {
        let named: Named<u8> =
            [("b", 1), ("a", 2), ("b", 3)].map(|(n, v)| (n.to_owned(), v)).into_iter().collect();
        assert_eq!(
            named.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>(),
            [("a", 2), ("b", 1)]
        );
        assert_eq!((named.get("a"), named.get("c"), named.len()), (Some(&2), None, 2));
        assert!(named.contains_key("b") && !named.is_empty() && Named::<u8>::default().is_empty());
    }
}
