//! `expgsql guard` and `expgsql attend`: the processes that the agent starts beside a primary and,
//! for a while, beside a standby.

use std::collections::BTreeMap;

use pha_core::decide::guards;
use pha_core::ocf::{OcfCode, OcfContext};
use pha_core::params::Params;
use pha_core::plan::Exit;
use pha_host::guard::OwnGroup;
use pha_host::log;
use pha_host::node::{Node, this_node};
use tracing::Level;

/// Runs such a process with the parameters of the operation that started it.
pub(crate) fn run(
    environment: &BTreeMap<String, String>,
    work: fn(OwnGroup, Node) -> Exit,
) -> Exit {
    // Whatever is started from here on is in its group, and not in the agent's.
    let group = OwnGroup::lead();
    log::init_resident(Level::INFO);
    let given = || environment.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    let context = match OcfContext::parse("monitor", given()) {
        Ok(context) => context,
        Err(error) => return Exit::fail(error.code(), error.to_string()),
    };
    let (params, _) = match Params::parse(Params::from_environment(given())) {
        Ok(parsed) => parsed,
        Err(error) => return Exit::fail(error.code, error.to_string()),
    };
    if let Err(exit) = guards(&params) {
        return exit;
    }
    let me = match this_node(&context) {
        Ok(me) => me,
        Err(reason) => return Exit::fail(OcfCode::Generic, reason),
    };
    match Node::new(context.resource, me, params) {
        Ok(node) => work(group, node),
        Err(refusal) => Exit::fail(refusal.code, refusal.reason),
    }
}
