//! `cat`: an object, or a part of it, to standard output.

use strongroom_client::{GetOptions, ObjectName};
use strongroom_core::ids::Generation;
use strongroom_core::reason::Reason;

use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::name;
use crate::range::ByteRange;
use crate::receipts::ReceiptFlag;
use crate::writer::{Sink, Stopped, Writer};

/// Stream objects to standard output. Nothing is written to this disk.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom cat acme/rlhf/math/000008.json
  strongroom cat acme/rlhf/prompts.jsonl --range 0-1023
  strongroom cat acme/rlhf/big.tar | tar t")]
pub struct Cat {
    /// TENANT/DATASET/PATH; several are laid end to end.
    #[arg(required = true, value_name = "OBJECT", value_parser = name::parse::<ObjectName>)]
    objects: Vec<ObjectName>,
    /// Only these bytes, as curl's -r has it: A-B (both included, the first byte is 0), A- or -N (the last N).
    #[arg(long, value_name = "A-B", allow_hyphen_values = true)]
    range: Option<ByteRange>,
    /// A generation of the one object, instead of the newest.
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
    #[command(flatten)]
    receipt: ReceiptFlag,
}

impl Cat {
    /// Does it.
    ///
    /// # Errors
    /// Not there, not allowed or not intact. What was written before is intact.
    pub fn run(self, globals: &Globals) -> Outcome {
        if self.objects.len() > 1 && (self.range.is_some() || self.generation.is_some()) {
            return Err(Failure::usage("a range or a generation is one object's", "name one object"));
        }
        let options = GetOptions { generation: self.generation.map(Generation), grant: globals.grant };
        self.receipt.with_vault(globals, async |vault| {
            let writer = Writer::start(Sink::Stdout);
            let mut outcome = Ok(());
            for object in &self.objects {
                let reader = match self.range {
                    None => vault.get(object, options.clone()).await,
                    Some(range) => {
                        let size =
                            if range.needs_size() { vault.stat(object, options.clone()).await?.size } else { u64::MAX };
                        let none = || {
                            let detail = format!("{object} has {size} bytes, none of them in this range");
                            Failure::new(Reason::InvalidArgument, detail, "see stat for its size")
                        };
                        let (start, end) = range.within(size).ok_or_else(none)?;
                        vault.get_range(object, start..end, options.clone()).await
                    }
                };
                let sent = match reader {
                    Ok(reader) => writer.object(object.path.as_str(), reader, |_| {}).await,
                    Err(error) => Ok(Err(error)),
                };
                match sent {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        outcome = Err(Failure::from(error).of(&object.to_string()));
                        break;
                    }
                    Err(Stopped) => break,
                }
            }
            writer.finish(outcome.is_ok()).await?;
            outcome
        })
    }
}
