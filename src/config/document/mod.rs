//! What an operator types: `tollway.yaml` and the policies, field by field. The comments here are the descriptions in the
//! JSON Schemas.

pub mod answers;
pub mod budget;
pub mod gateway;
pub mod keys;
pub mod ledger;
pub mod policy;
pub mod schema;
pub mod store;
pub mod values;

pub use gateway::TollwayDocument;
pub use policy::PolicyDocument;
