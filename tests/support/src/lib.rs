//! Fake providers on loopback: scripted, faithful to the payload fixtures, with faults on demand.
