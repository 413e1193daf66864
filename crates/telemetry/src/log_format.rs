//! Adds the ids of the current request and its trace to every log line.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::request::{self, RequestContext};

/// The format of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    /// One object, which ends with a brace.
    Json,
    /// The message, and fields as `name=value`.
    Human,
}

/// Adds the fields of the current request to another format.
#[derive(Debug)]
pub(crate) struct WithRequestFields<F> {
    pub(crate) inner: F,
    pub(crate) style: Style,
}

impl<S, N, F> FormatEvent<S, N> for WithRequestFields<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(request) = request::current() else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let (line, end) = match self.style {
            Style::Json => (line.strip_suffix("}\n").unwrap_or(&line), "}\n"),
            Style::Human => (line.strip_suffix('\n').unwrap_or(&line), "\n"),
        };
        writer.write_str(line)?;
        self.style.write(&request, &mut writer)?;
        writer.write_str(end)
    }
}

impl Style {
    fn write(self, request: &RequestContext, writer: &mut Writer<'_>) -> fmt::Result {
        // an id is visible ASCII, in which Rust's `Debug` escapes what JSON does
        match self {
            Self::Json => write!(writer, ",\"request_id\":{:?}", request.id()),
            Self::Human => write!(writer, " request_id={}", request.id()),
        }?;
        match (request.trace_id(), self) {
            (None, _) => Ok(()),
            (Some(trace), Self::Json) => write!(writer, ",\"trace_id\":\"{trace}\""),
            (Some(trace), Self::Human) => write!(writer, " trace_id={trace}"),
        }
    }
}
