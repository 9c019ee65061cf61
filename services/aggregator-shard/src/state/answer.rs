//! Reads figures off the state.

use super::PartitionState;
use super::day::DayView;
use super::seal::fit;
use daybook_contracts::ask::{
    Answer, AsOf, AskError, AskErrorCode, Asked, DayAccount, Days, MAX_ANSWER_BYTES, MAX_ANSWER_ROWS, Query,
};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;

impl PartitionState {
    /// The rows of a view for one day. `freshness_ms` is the caller's to fill in.
    ///
    /// # Errors
    /// When tenant, view or day is not known here, or the figures do not reach `at_least`.
    pub fn view(&self, tenant_id: &TenantId, view: &Name, query: Query) -> Asked<Answer> {
        if query.at_least.is_some_and(|wanted| wanted > self.through.whole()) {
            return Err(error(
                AskErrorCode::NotYet,
                format!("the figures reach INBOX sequence {}", self.through.whole()),
                "ask again in a moment",
            ));
        }
        let tenant = self.tenants.get(tenant_id).ok_or_else(|| unknown_tenant(tenant_id))?;
        let plan = self.models.iter().flat_map(|model| &model.plans).find(|plan| plan.view.name == *view);
        let plan = plan.ok_or_else(|| {
            error(AskErrorCode::UnknownView, format!("there is no view {view}"), "`daybook get views` lists them")
        })?;
        let (date, _) = query.days.range(tenant.current_day()).expect("stub");
        let Some(day) = tenant.days.get(&date) else {
            return Err(self.unknown_day(tenant_id, date));
        };
        let empty = DayView::default();
        let shown = day.views.get(view).unwrap_or(&empty);
        let rows = shown.rows(plan);
        let total = rows.len() as u64;
        Ok(Answer {
            tenant: tenant_id.clone(),
            view: view.clone(),
            from: date,
            to: date,
            next: None,
            stale: false,
            feed: None,
            day: day.state,
            rows: fit(rows, MAX_ANSWER_ROWS, &mut { MAX_ANSWER_BYTES }),
            total,
            as_of: self.as_of(),
            freshness_ms: 0,
            coverage: shown.coverage.clone(),
            definition: plan.view.revision,
            report: day.sealed.as_ref().map(|sealed| sealed.version),
        })
    }

    /// The days that are kept of a tenant, with the account of their events.
    ///
    /// # Errors
    /// When the tenant is not known here.
    pub fn days(&self, tenant_id: &TenantId) -> Asked<Days> {
        let tenant = self.tenants.get(tenant_id).ok_or_else(|| unknown_tenant(tenant_id))?;
        let days = tenant
            .days
            .iter()
            .map(|(date, day)| {
                let interval = day.marker.as_ref().map(|marker| marker.day);
                DayAccount {
                    date: *date,
                    day: day.state,
                    opens_at: interval.map(|day| day.opens_at),
                    closes_at: interval.map(|day| day.closes_at),
                    report: day.sealed.as_ref().map(|sealed| sealed.version),
                    account: day.account,
                }
            })
            .collect();
        Ok(Days { tenant: tenant_id.clone(), days, as_of: self.as_of() })
    }

    /// How far the state reaches.
    pub fn as_of(&self) -> AsOf {
        AsOf { log: self.position, inbox: self.through.whole() }
    }

    fn unknown_day(&self, tenant_id: &TenantId, date: Date) -> AskError {
        let tenant = &self.tenants[tenant_id];
        let hint = match tenant.open_day {
            None => "no day of this tenant has opened yet".to_owned(),
            Some(open) => {
                format!("days from {} to {open} are kept live; older ones have reports", tenant.expired_before)
            }
        };
        error(AskErrorCode::UnknownDay, format!("nothing is known of {tenant_id}'s day {date}"), &hint)
    }
}

fn unknown_tenant(tenant: &TenantId) -> AskError {
    error(AskErrorCode::UnknownTenant, format!("there is no tenant {tenant}"), "`daybook get tenants` lists them")
}

fn error(code: AskErrorCode, message: String, hint: &str) -> AskError {
    AskError::new(code, message).hint(hint)
}
