//! The dashboard, as its callers see it.
