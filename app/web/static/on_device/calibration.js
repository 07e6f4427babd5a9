/* Logits to probabilities, ranked classes and the verdict, as `model/classifier.py` and `model/ood.py`.
 *
 * NumPy computes with float32 there, so results are rounded to it here. */

const DEFAULT_KNOWN_PROBABILITY = 0.5;

const largest = (values) => Math.max(...values);
const total = (values) => values.reduce((one, other) => one + other, 0);

/* Return log(sum(exp(values))). */
function energy(values) {
  const most = largest(values);
  return most + Math.log(total(values.map((value) => Math.exp(value - most))));
}

/* OOD scores of the adjusted logits divided by the temperature; higher is more like a known flower. */
const SCORES = {
  probability: (scaled) => largest(scaled) - energy(scaled),
  max_logit: largest,
  energy,
  contrast: (scaled) => largest(scaled) - total(scaled) / scaled.length,
};

export const SCORE_NAMES = Object.keys(SCORES);

/* Return the softmax of the logits divided by the temperature, as a Float32Array. */
export function probabilities(logits, temperature) {
  const scaled = Float64Array.from(logits, (logit) => logit / temperature);
  const most = largest(scaled);
  const exponents = scaled.map((value) => Math.exp(value - most));
  const sum = total(exponents);
  return Float32Array.from(exponents, (value) => value / sum);
}

/* Return the OOD score of logits by a rule {score, logit_adjustment}. */
export function oodScore(rule, logits, temperature) {
  const adjustment = rule.logit_adjustment ?? [];
  const divisor = Math.fround(temperature);
  const scaled = Float64Array.from(logits, (logit, i) => {
    const adjusted = Math.fround(logit) - Math.fround(adjustment[i] ?? 0);
    return Math.fround(Math.fround(adjusted) / divisor);
  });
  return Math.fround(SCORES[rule.score](scaled));
}

/* Return "unchecked" without a rule, else "unknown", "unsure" or "known". */
export function verdict(rule, score, probability) {
  if (!rule) return "unchecked";
  if (score < rule.threshold) return "unknown";
  return probability >= (rule.known_probability ?? DEFAULT_KNOWN_PROBABILITY) ? "known" : "unsure";
}

/* Return the indices of the `topK` highest values, highest first; ties keep their order. */
export function topIndices(values, topK) {
  return Array.from(values.keys())
    .sort((one, other) => values[other] - values[one])
    .slice(0, topK);
}

/* Return {predictions, verdict, ood} of a photo's logits, as POST /predict does. */
export function resultOf(logits, metadata, topK) {
  const { classes, temperature, ood_rule: rule } = metadata;
  const found = probabilities(logits, temperature);
  const predictions = topIndices(found, topK).map((i) => ({
    class_id: classes[i].class_id,
    name: classes[i].name,
    probability: found[i],
  }));
  const best = predictions[0].probability;
  if (!rule) return { predictions, verdict: verdict(null, 0, best), ood: null };
  const score = oodScore(rule, logits, temperature);
  const ood = { score, threshold: rule.threshold, is_known: score >= rule.threshold };
  return { predictions, verdict: verdict(rule, score, best), ood };
}
