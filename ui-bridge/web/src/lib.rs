//! The daemon's page.
