"use strict";
// The estimators of gapo_cli/estimators, group by group, with the same rules for ties and degenerate groups. A test holds these
// functions to the Python.
const gapoEstimators = (() => {
  const EQUAL_WITHIN = 1e-9;
  const DIVISOR_EPSILON = 1e-6;

  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const mean = (values) => sum(values) / values.length;
  const median = (ordered) => (ordered[Math.floor((ordered.length - 1) / 2)] + ordered[Math.floor(ordered.length / 2)]) / 2;
  const deviation = (values, centre) => Math.sqrt(sum(values.map((value) => (value - centre) ** 2)) / Math.max(values.length - 1, 1)) + DIVISOR_EPSILON;
  // ceil(share * count), at least 1; nine decimals first, or 0.56 * 25 would be 15
  const shareOf = (share, count) => Math.max(Math.ceil(Number((share * count).toFixed(9))), 1);

  // The shortest run of ceil(tau * n) neighbours in order; of equally short ones the lowest.
  function shortestRun(ordered, tau) {
    const size = shareOf(tau, ordered.length);
    let first = 0;
    for (let start = 1; start + size <= ordered.length; start += 1) {
      if (ordered[start + size - 1] - ordered[start] < ordered[first + size - 1] - ordered[first]) first = start;
    }
    return ordered.slice(first, first + size);
  }

  function densest(ordered, tau, centreOf, aroundMean) {
    const run = shortestRun(ordered, tau);
    const centre = centreOf(run);
    return { baseline: centre, divisor: deviation(ordered, aroundMean ? mean(ordered) : centre), low: run[0], high: run[run.length - 1] };
  }

  // ordered: ascending rewards; setting: tau or quantile; lengths: of the answers, in the order of the rewards. → baseline, divisor and, where there is one, the interval.
  const ESTIMATORS = {
    gapo: (ordered, setting) => densest(ordered, setting, median, false),
    gapo_mean: (ordered, setting) => densest(ordered, setting, mean, false),
    gapo_median_std: (ordered, setting) => densest(ordered, setting, median, true),
    grpo: (ordered) => ({ baseline: mean(ordered), divisor: deviation(ordered, mean(ordered)) }),
    median: (ordered) => ({ baseline: median(ordered), divisor: deviation(ordered, median(ordered)) }),
    dr_grpo: (ordered) => ({ baseline: mean(ordered), divisor: 1 }),
    rloo: (ordered) => ({ baseline: mean(ordered), divisor: Math.max(ordered.length - 1, 1) / ordered.length }),
    opo: (ordered, setting, lengths) => ({ baseline: sum(ordered.map((reward, place) => reward * lengths[place])) / sum(lengths), divisor: 1 }),
    quantile: (ordered, setting) => ({ baseline: ordered[shareOf(setting, ordered.length) - 1], divisor: deviation(ordered, mean(ordered)) }),
  };
  const NEED_LENGTHS = ["opo"];
  const HAVE_SETTING = ["gapo", "gapo_mean", "gapo_median_std", "quantile"];

  // The estimators for a group of answers of these lengths: who weighs by length needs at least 1 token each.
  const namesFor = (lengths) => Object.keys(ESTIMATORS).filter((name) => !NEED_LENGTHS.includes(name) || lengths.every((length) => length > 0));

  // Rewards and lengths of one group, none missing → { values, baseline, low, high }; low and high null without an interval.
  function advantages(name, rewards, setting, lengths) {
    const order = [...rewards.keys()].sort((a, b) => rewards[a] - rewards[b]);
    const ordered = order.map((answer) => rewards[answer]);
    const found = ESTIMATORS[name](ordered, setting, order.map((answer) => lengths[answer]));
    const equal = ordered[ordered.length - 1] - ordered[0] <= EQUAL_WITHIN;
    return {
      values: rewards.map((reward) => (equal ? 0 : (reward - found.baseline) / found.divisor)),
      baseline: found.baseline,
      low: found.low ?? null,
      high: found.high ?? null,
    };
  }

  return { advantages, shareOf, shortestRun, namesFor, haveSetting: HAVE_SETTING };
})();
if (typeof module !== "undefined") module.exports = gapoEstimators;
