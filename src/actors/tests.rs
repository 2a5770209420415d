//! Sessions on real nodes, through the actors in this process.
