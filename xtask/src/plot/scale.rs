//! From figures to places along an axis.

/// Longest over shortest from which on the short bars of a linear axis can no longer be compared.
const LOGARITHMIC_FROM: f64 = 20.0;
const TICKS_AT_MOST: f64 = 7.0;

/// An axis of some length, from its left end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0 to this.
    Linear { to: f64 },
    /// From a power of ten to this.
    Logarithmic { from: i32, to: f64 },
}

impl Scale {
    /// For figures between these two, both positive.
    pub(super) fn covering(least: f64, greatest: f64) -> Scale {
        if greatest / least < LOGARITHMIC_FROM {
            return Scale::Linear { to: greatest };
        }
        // Strictly below the least figure, or its bar would have no length.
        let from = (least.log10() - 0.01).floor() as i32;
        Scale::Logarithmic { from, to: greatest }
    }

    /// The place of a figure, as a share of the axis.
    pub(super) fn place(self, figure: f64) -> f64 {
        match self {
            Scale::Linear { to } => figure / to,
            Scale::Logarithmic { from, to } => (figure.log10() - f64::from(from)) / (to.log10() - f64::from(from)),
        }
    }

    /// Round figures along the axis.
    pub(super) fn ticks(self) -> Vec<f64> {
        match self {
            Scale::Linear { to } => {
                let step = round_step(to / TICKS_AT_MOST);
                (0..).map(|count| f64::from(count) * step).take_while(|tick| *tick <= to * 1.0001).collect()
            }
            Scale::Logarithmic { from, to } => {
                (from..).map(|power| 10f64.powi(power)).take_while(|tick| *tick <= to).collect()
            }
        }
    }
}

/// The next of 1, 2, 5, 10, 20 ...
fn round_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    let rounds = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * decade);
    rounds.into_iter().find(|step| *step >= least * 0.9999).unwrap_or(rounds[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_nothing_and_is_divided_by_round_steps() {
        let scale = Scale::covering(1400.0, 6500.0);
        assert_eq!(scale, Scale::Linear { to: 6500.0 });
        assert_eq!((scale.place(0.0), scale.place(6500.0)), (0.0, 1.0));
        assert_eq!(scale.ticks(), [0.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0]);
        assert_eq!(Scale::Linear { to: 1.1 }.ticks().len(), 6, "steps of 0.2");
    }

    #[test]
    fn what_differs_twentyfold_is_shown_by_powers_of_ten() {
        let scale = Scale::covering(1.0, 420.0);
        assert_eq!(scale, Scale::Logarithmic { from: -1, to: 420.0 });
        assert_eq!(scale.ticks(), [0.1, 1.0, 10.0, 100.0]);
        let tenfold = |figure: f64| scale.place(figure * 10.0) - scale.place(figure);
        assert!((tenfold(1.0) - tenfold(40.0)).abs() < 1e-9);
        assert_eq!((scale.place(0.1), scale.place(420.0)), (0.0, 1.0));
        assert!(scale.place(1.0) > 0.0, "the shortest bar can be seen");
    }
}
