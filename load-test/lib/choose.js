// Random choices.

// A function that picks one of the keys of `weights` ({key: weight}) at random.
export function byWeight(weights) {
  const keys = Object.keys(weights).filter((key) => weights[key] > 0);
  const total = keys.reduce((sum, key) => sum + weights[key], 0);
  if (!(total > 0)) {
    throw new Error(`no weight above 0: ${JSON.stringify(weights)}`);
  }
  return () => {
    let rest = Math.random() * total;
    for (const key of keys) {
      rest -= weights[key];
      if (rest < 0) {
        return key;
      }
    }
    return keys[keys.length - 1];
  };
}

// A whole number below `limit`.
export function below(limit) {
  return Math.floor(Math.random() * limit);
}
