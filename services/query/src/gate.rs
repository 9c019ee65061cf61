//! A way that takes so many questions at once: of the tenants that wait for it, each goes in turn.
//!
//! There is one to the shards of each partition. A shard answers one question after the other. Whatever is sent to it at once waits
//! there, and its answers come back through one connection. So a flood waits here, where another tenant's question passes it.
//! Questions about groups of tenants go through another one, each group for a tenant, because they take memory.

use daybook_contracts::ask::Asked;
use daybook_domain::ids::TenantId;
use daybook_runtime::fair::{Bounds, FairQueue};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The bounds of the way to a shard.
pub const OF_A_SHARD: Bounds = Bounds {
    // Those that a shard has at once: as many as keep it busy while answers and questions travel, and a few tenants' worth.
    running_of_a_tenant: 16,
    running: 64,
    // As many of a tenant as query takes of all; of all more than that, so that `Turns` refuses first and says why.
    waiting_of_a_tenant: 1_024,
    waiting: 4_096,
    // Every question takes a turn, whatever it costs: the shard knows that, and goes by it.
    quantum: 1,
};

/// A gate. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Mutex<FairQueue<TenantId, oneshot::Sender<()>>>>);

/// The right to pass; it ends when this is dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Gate,
    tenant: TenantId,
}

/// A place in the queue. One that is dropped while it waits is skipped.
struct Waiting<'a> {
    gate: &'a Gate,
    tenant: &'a TenantId,
    called: oneshot::Receiver<()>,
}

impl Gate {
    /// A gate with these bounds. A question costs a quantum at most.
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Mutex::new(FairQueue::new(bounds))))
    }

    /// Waits until it is the tenant's turn. Its questions pass in the order in which they came.
    ///
    /// # Errors
    /// [`Busy`](daybook_contracts::ask::AskErrorCode::Busy) when as many of the tenant wait as may.
    pub async fn pass(&self, tenant: &TenantId) -> Asked<Pass> {
        let (call, called) = oneshot::channel();
        {
            let mut queue = self.lock();
            queue.push(tenant.clone(), call).map_err(|full| full.busy())?;
            call_next(&mut queue);
        }
        let mut waiting = Waiting { gate: self, tenant, called };
        (&mut waiting.called).await.expect("the gate calls whoever waits");
        // The place is used: it has nothing to give back, for its call has been taken.
        drop(waiting);
        Ok(Pass { gate: self.clone(), tenant: tenant.clone() })
    }

    /// About how many questions pass before one of the tenant that comes now.
    pub fn ahead_of(&self, tenant: &TenantId) -> usize {
        self.lock().ahead_of(tenant)
    }

    fn end(&self, tenant: &TenantId) {
        let mut queue = self.lock();
        queue.done(tenant, 0);
        call_next(&mut queue);
    }

    fn lock(&self) -> MutexGuard<'_, FairQueue<TenantId, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls as many as may pass.
fn call_next(queue: &mut FairQueue<TenantId, oneshot::Sender<()>>) {
    while let Some((tenant, call)) = queue.begin() {
        if call.send(()).is_err() {
            queue.done(&tenant, 0);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // From here on a call fails. One that came before, and was not taken, is given back.
        self.called.close();
        if self.called.try_recv().is_ok() {
            self.gate.end(self.tenant);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.end(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::ask::AskErrorCode;
    use futures::FutureExt;

    fn tenant(id: &str) -> TenantId {
        TenantId::new(id).unwrap()
    }

    #[tokio::test]
    async fn another_tenant_passes_a_flood() {
        // One task may not poll more than 128 futures of tokio's in a row.
        const FLOOD: usize = 100;
        let (gate, greedy, modest) = (Gate::new(OF_A_SHARD), tenant("greedy"), tenant("modest"));
        let mut flood: Vec<_> = (0..FLOOD).map(|_| Box::pin(gate.pass(&greedy))).collect();
        let passes: Vec<Pass> =
            flood.iter_mut().filter_map(|asking| asking.now_or_never()).map(Result::unwrap).collect();
        assert_eq!(passes.len(), OF_A_SHARD.running_of_a_tenant);
        assert_eq!((gate.ahead_of(&greedy), gate.ahead_of(&modest)), (FLOOD - OF_A_SHARD.running_of_a_tenant, 1));
        let pass = gate.pass(&modest).now_or_never().expect("it does not wait").unwrap();
        drop((pass, passes));
        let passed =
            flood.iter_mut().skip(OF_A_SHARD.running_of_a_tenant).filter_map(|asking| asking.now_or_never()).count();
        assert_eq!(passed, FLOOD - OF_A_SHARD.running_of_a_tenant, "each that ends lets another in");
    }

    #[tokio::test]
    async fn whoever_goes_away_keeps_nobody_out() {
        let (gate, greedy) = (Gate::new(OF_A_SHARD), tenant("greedy"));
        let first: Vec<Pass> =
            futures::future::join_all((0..OF_A_SHARD.running_of_a_tenant).map(|_| gate.pass(&greedy)))
                .await
                .into_iter()
                .map(Result::unwrap)
                .collect();
        let (mut leaves_waiting, mut leaves_called, mut stays) =
            (Box::pin(gate.pass(&greedy)), Box::pin(gate.pass(&greedy)), Box::pin(gate.pass(&greedy)));
        for waits in [&mut leaves_waiting, &mut leaves_called, &mut stays] {
            assert!(futures::poll!(waits).is_pending());
        }
        drop(leaves_waiting);
        let mut first = first.into_iter();
        drop(first.next());
        // It is called now, and leaves without having heard of it.
        drop(leaves_called);
        let pass = stays.now_or_never().expect("the call went on to it").unwrap();
        drop((first, pass));
        let queue = gate.lock();
        assert_eq!((queue.running(), queue.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn those_that_wait_have_a_bound() {
        let (gate, greedy) = (Gate::new(OF_A_SHARD), tenant("greedy"));
        let most = OF_A_SHARD.running_of_a_tenant + OF_A_SHARD.waiting_of_a_tenant;
        let mut flood: Vec<_> = (0..=most).map(|_| Box::pin(gate.pass(&greedy))).collect();
        let mut passes = Vec::new();
        for asking in &mut flood[..most] {
            passes.extend(asking.now_or_never());
        }
        let refused = (&mut flood[most]).now_or_never().expect("it is refused at once").unwrap_err();
        assert_eq!((refused.code, refused.hint.is_some()), (AskErrorCode::Busy, true));
    }
}
