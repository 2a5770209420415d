//! Scripts for the ledger of replies owed.
