//! Places of figures along a logarithmic axis.

/// If the greatest figure is more than this multiple of the least, ticks are 1, 2, 5, 10 ... instead of equal steps.
const DECADES_FROM: f64 = 6.0;
const TICKS_AT_MOST: f64 = 10.0;
/// Free space at both ends, as a share of the axis.
const PADDING: f64 = 0.03;

/// A logarithmic axis between two positive figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    /// Covers the figures between these two, both positive. The figure 1 is always on the axis.
    pub(super) fn covering(least: f64, greatest: f64) -> Scale {
        let (least, greatest) = (least.min(1.0), greatest.max(1.0));
        let padding = (greatest / least).max(1.1).powf(PADDING);
        Scale { from: least / padding, to: greatest * padding }
    }

    /// Returns the place of a figure, as a share of the axis.
    pub(super) fn place(self, figure: f64) -> f64 {
        (figure / self.from).ln() / (self.to / self.from).ln()
    }

    /// Returns round figures along the axis.
    pub(super) fn ticks(self) -> Vec<f64> {
        let Scale { from, to } = self;
        if to / from > DECADES_FROM {
            let decades = from.log10().floor() as i32..=to.log10().ceil() as i32;
            let rounds = decades.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
            return rounds.filter(|tick| (from..=to).contains(tick)).collect();
        }
        let step = round_step((to - from) / TICKS_AT_MOST);
        let first = (from / step).ceil() as i32;
        (first..).map(|count| f64::from(count) * step).take_while(|tick| *tick <= to).collect()
    }
}

/// Returns the next of 0.01, 0.02, 0.025, 0.05, 0.1 ...
fn round_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    let rounds = [1.0, 2.0, 2.5, 5.0, 10.0].map(|digit| digit * decade);
    rounds.into_iter().find(|step| *step >= least * 0.9999).unwrap_or(rounds[4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ratios_are_equally_far_apart() {
        let scale = Scale::covering(0.5, 400.0);
        let tenfold = |figure: f64| scale.place(figure * 10.0) - scale.place(figure);
        assert!((tenfold(1.0) - tenfold(40.0)).abs() < 1e-9);
        assert!(scale.place(0.5) > 0.0 && scale.place(400.0) < 1.0, "both ends have some space");
    }

    #[test]
    fn figures_close_to_each_other_have_equal_steps() {
        let ticks = Scale::covering(0.76, 1.21).ticks();
        let steps: Vec<f64> = ticks.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(ticks.len() > 5 && steps.iter().all(|step| (step - 0.05).abs() < 1e-9), "{ticks:?}");
        assert!(ticks.iter().any(|tick| (tick - 1.0).abs() < 1e-9), "{ticks:?}");
    }

    #[test]
    fn figures_far_apart_have_ticks_in_every_decade() {
        assert_eq!(Scale::covering(1.0, 120.0).ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn the_figure_one_is_always_on_the_axis() {
        for scale in [Scale::covering(2.0, 3.0), Scale::covering(0.1, 0.2), Scale::covering(1.0, 1.0)] {
            assert!((0.0..=1.0).contains(&scale.place(1.0)), "{scale:?}");
        }
    }
}
