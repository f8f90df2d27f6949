//! One folder per wire protocol, each a pure machine on the session contract.
