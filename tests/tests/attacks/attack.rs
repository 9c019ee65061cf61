//! An attack as data: what a hostile client sends, what keeps it from having an effect, and by which sign an effect is known.

use async_nats::jetstream::stream::Config;

/// The hostile tenant.
pub(crate) const EVIL: &str = "evil";
/// The tenant that it is after.
pub(crate) const VICTIM: &str = "acme";
/// Where an attacker awaits its answers.
pub(crate) const INBOX: &str = "_INBOX.evil.reply";
/// What stands in every acknowledgement of INBOX.
pub(crate) const PUBACK: &str = r#""stream":"DAYBOOK_INBOX""#;
/// What an attacker writes, and nobody else.
pub(crate) const FORGED: &str = "forged by evil";

/// One attack.
pub(crate) struct Attack {
    /// What it does, in few words; no two are called the same.
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
    /// The sign of its effect.
    pub(crate) probe: Probe,
    /// What stops it in the documented configuration.
    pub(crate) guard: &'static str,
    /// Where it is tried without that guard.
    pub(crate) without: Without,
    /// What is seen there.
    pub(crate) effect: &'static str,
}

/// A message as an attacker sends it. In a [`Step::Flood`], `#` in subject and payload is the number.
#[derive(Clone, Default)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    /// Header lines, each ended by `\r\n`.
    pub(crate) headers: String,
    pub(crate) payload: String,
}

/// Something that an attacker does.
#[derive(Clone)]
pub(crate) enum Step {
    Publish(Message),
    /// So many of them, without waiting for anything.
    Flood(u32, Message),
    /// Listens, maybe as one of a group.
    Listen(&'static str, Option<&'static str>),
    /// Waits while the others go on: the victim publishes and asks, a day closes.
    Wait,
}

/// The sign of an effect.
#[derive(Clone)]
pub(crate) enum Probe {
    /// The attacker is answered, with this text.
    Told(&'static str),
    /// Something arrives where the attacker listens.
    Heard,
    /// A message with the text came to stand in the stream.
    Stored(&'static str, &'static str),
    /// The stream has fewer messages, or is gone.
    Lost(&'static str),
    /// The stream's options are others.
    Changed(&'static str),
    /// A stream of that name is there.
    NewStream(&'static str),
    /// A consumer of the stream is gone.
    ConsumerGone(&'static str),
    /// A message with the text arrives on the subject, in the account of the services.
    Arrives(&'static str, &'static str),
    /// The victim's next event is refused.
    VictimRefused,
    /// The victim's next event, with this message id, is taken for a duplicate.
    VictimDuplicate(&'static str),
    /// The victim's question is answered by the attacker.
    VictimDeceived,
}

/// A place without the guard.
#[derive(Clone, Copy)]
pub(crate) enum Without {
    /// The services' account for everybody; the client has a tenant's permissions, and may get its own reports directly.
    Accounts,
    /// The services' account for everybody, and everything permitted.
    Permissions,
    /// A stream made with other options, the client's permissions a tenant's. With the services' own options the attack must
    /// have no effect there.
    Option(&'static str, fn(&mut Config)),
    /// A user of the system account.
    System,
    /// A whole Daybook on a server that permits everything to everybody.
    OpenDaybook,
}

/// A message to a subject.
pub(crate) fn to(subject: &str) -> Message {
    Message { subject: subject.to_owned(), ..Message::default() }
}

impl Message {
    pub(crate) fn reply(mut self, reply: &str) -> Self {
        self.reply = Some(reply.to_owned());
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn payload(mut self, payload: impl Into<String>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The header block, when there are headers.
    pub(crate) fn block(&self) -> Option<Vec<u8>> {
        (!self.headers.is_empty()).then(|| format!("NATS/1.0\r\n{}\r\n", self.headers).into_bytes())
    }

    /// One of a flood.
    pub(crate) fn numbered(&self, number: u32) -> Self {
        let number = |text: &str| text.replace('#', &number.to_string());
        Self { subject: number(&self.subject), payload: number(&self.payload), ..self.clone() }
    }

    pub(crate) fn publish(self) -> Step {
        Step::Publish(self)
    }
}

/// A request whose answer comes back to the attacker.
pub(crate) fn ask(subject: &str, payload: &str) -> Vec<Step> {
    vec![to(subject).reply(INBOX).payload(payload).publish()]
}

/// An event of the attacker's own.
pub(crate) fn event() -> Message {
    to("daybook.in.evil.order").payload(daybook_tests::orders::order("evil-1").to_string())
}

impl Attack {
    /// Whether the others do something meanwhile, which changes their figures.
    pub(crate) fn waits(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Wait))
    }
}
