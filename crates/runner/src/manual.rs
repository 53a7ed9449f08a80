//! The manual page of a program: the output of `--man`.

use clap::{Arg, Command};
use clap_mangen::Man;

/// Returns the page in roff: the program, then a section for each of its commands.
pub(crate) fn page(mut command: Command) -> String {
    // Building copies the global options to the commands. They are described once, with the program.
    command.build();
    let mut page = rendered(&Man::new(command.clone()));
    for own in command.get_subcommands().filter(|own| !own.is_hide_set() && own.get_name() != "help") {
        let name = own.get_name().to_owned();
        let without_global = own.clone().mut_args(|option| match is_repeated(&option) {
            true => option.hide(true),
            false => option,
        });
        let title = format!("{} {name}", command.get_name()).to_uppercase();
        page += &format!(".SH \"{title}\"\n{}", subsections(&rendered(&Man::new(without_global))));
    }
    page
}

fn is_repeated(option: &Arg) -> bool {
    option.is_global_set() || ["help", "version"].contains(&option.get_id().as_str())
}

fn rendered(man: &Man) -> String {
    let mut page = Vec::new();
    // Writing to memory cannot fail.
    let _ = man.render(&mut page);
    String::from_utf8_lossy(&page).into_owned()
}

/// Turns the page of a command into a part of another page: without its title, and with subsections.
fn subsections(page: &str) -> String {
    let from_first_section = page.find(".SH ").map_or("", |at| &page[at..]);
    let lines = from_first_section.lines().map(|line| match line.strip_prefix(".SH ") {
        Some(title) => format!(".SS {title}\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use clap::{Args, Parser, Subcommand};

    use super::*;

    /// Does one thing.
    #[derive(Parser)]
    #[command(name = "exampled", version)]
    struct Line {
        /// Speak
        #[arg(long, global = true)]
        loud: bool,
        #[command(subcommand)]
        command: Commands,
    }

    #[derive(Subcommand)]
    enum Commands {
        /// Run fast
        Run(Run),
    }

    #[derive(Args)]
    struct Run {
        /// The distance
        #[arg(long)]
        meters: u32,
    }

    #[test]
    fn the_page_describes_each_command_with_its_own_options() {
        use clap::CommandFactory;
        let page = page(Line::command());
        assert!(page.contains(".TH exampled 1"), "{page}");
        assert_eq!(page.matches(".TH ").count(), 1, "{page}");
        let (program, command) = page.split_once(".SH \"EXAMPLED RUN\"").expect("a section for the command");
        assert!(program.contains("Speak") && !command.contains("Speak"), "{page}");
        assert!(command.contains("Run fast") && command.contains("The distance"), "{page}");
    }
}
