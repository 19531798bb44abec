//! Whether PostgreSQL runs on a node, as one node says it to another.

/// What `cls internal running` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Running {
    /// PostgreSQL runs there, whoever started it.
    Yes,
    /// It does not.
    No,
}

impl Running {
    /// The word that is printed.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
        }
    }

    /// What a node has printed; none where that is no answer.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let mut all = [Self::Yes, Self::No].into_iter();
        all.find(|answer| answer.word() == text.trim())
    }
}
