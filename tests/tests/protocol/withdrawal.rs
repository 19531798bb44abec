//! The withdrawal of a question for promises (R7): a primary that has been stopped and has not relied on
//! them frees whoever has promised. A withdrawal may be lost, late, and come again at any time, also after
//! the epoch that it is of.

use pha_core::plan::Effect;
use pha_core::register::{ClusterId, DataEnd, PromiseRequest, Withdrawal};

use crate::agent::Questioned;
use crate::model::{Explored, Fate, Move};
use crate::mutation::Mutation;
use crate::state::{EPOCH, Lease, NOBODY_BIT, Node, Postgres, State, TERM, TTL, name};

impl Explored {
    pub(crate) fn withdrawal_moves(&self, state: &State, i: usize, moves: &mut Vec<Move>) {
        let node = &state.nodes[i];
        if !self.withdraws {
            return;
        }
        if node.seen.promised.is_some() {
            moves.push(Move::Withdrawn(i, false));
            if state.withdrawn {
                moves.push(Move::Withdrawn(i, true));
            }
        }
        if node.postgres != Postgres::Down || node.reign.is_none() || node.standby_signal {
            return;
        }
        // Whoever gave the lock back has stopped it for another reason than that it was lost.
        let owner = state.row.owner.map(usize::from) == Some(i);
        let lost = owner && state.row.lease != Lease::Released;
        // An operator has gone on with other data. Nobody starts it again and again while a monitor stops it.
        let decided = self.overrides && state.overrides_left == 0;
        let passed_over = decided && !owner && node.run.is_none();
        if lost || passed_over {
            moves.push(Move::Restarted(i));
        }
        if self.overrides && lost && node.names != NOBODY_BIT && node.run.is_none() {
            moves.push(Move::LosesPower(i));
        }
    }

    /// Its server has ended, as the agent knows.
    pub(crate) fn end_names(&self, node: &mut Node) {
        if self.mutation != Mutation::NamesOutliveAStop {
            node.names = NOBODY_BIT;
        }
    }

    /// Its server is down already. What is in memory is gone: for whom its commits wait, and what its guard has
    /// seen of it.
    pub(crate) fn loses_power(&self, node: &mut Node) {
        if self.mutation != Mutation::NamesOutliveTheMachine {
            node.names = NOBODY_BIT;
        }
        node.rebooted = true;
    }

    /// What is kept before a standby is let go, or a server that has crashed is restarted, by promises.
    pub(crate) fn use_promises(
        &self,
        node: &mut Node,
        term: u64,
        epoch: u64,
        restart: Option<DataEnd>,
    ) -> Result<Effect, String> {
        if !self.withdraws {
            return Ok(Effect::Done);
        }
        let used = node.memory().using(term, epoch, restart);
        let used = used.map_err(|error| error.to_string())?;
        let restart = !matches!(node.postgres, Postgres::Primary { .. });
        let forgot = match self.mutation {
            Mutation::UseNotKept => true,
            Mutation::RestartUseNotKept => restart,
            _ => false,
        };
        if !forgot && epoch == EPOCH {
            node.remember(&used);
        }
        Ok(Effect::Done)
    }

    pub(crate) fn withdraw_promises(
        &self,
        state: &mut State,
        i: usize,
        withdrawal: &Withdrawal,
    ) -> Result<Effect, String> {
        let (term, epoch) = (withdrawal.term, withdrawal.epoch);
        if (term, epoch) != (TERM, EPOCH) {
            return Ok(Effect::Done);
        }
        let node = &mut state.nodes[i];
        let mut known = node.memory();
        if self.mutation == Mutation::WithdrawnAlthoughUsed {
            known.used = None;
        }
        let withdrawn = known.withdrawing(term, epoch, withdrawal.unopened);
        let withdrawn = withdrawn.map_err(|error| error.to_string())?;
        if self.mutation != Mutation::WithdrawalNotKept {
            node.remember(&withdrawn);
        }
        state.withdrawn = true;
        Ok(Effect::Done)
    }

    /// A withdrawal has arrived; none where it changes nothing.
    pub(crate) fn freed(&self, state: &mut State, i: usize, present: bool) -> Option<()> {
        let withdrawal = Withdrawal {
            node: name((i + 1) % self.nodes),
            peers: vec![],
            term: TERM,
            epoch: if present { EPOCH } else { 0 },
            unopened: None,
        };
        let (resource, cluster) = ("pgsql".parse().expect("a name"), ClusterId::default());
        let request = PromiseRequest::withdrawal(&withdrawal, name(i), resource, cluster, TTL);
        let before = state.nodes[i].seen.promised;
        let mut questioned = Questioned {
            model: self,
            state,
            j: i,
            fate: Fate::Answered,
        };
        questioned.answer(&request).ok()?;
        (state.nodes[i].seen.promised != before).then_some(())
    }
}
