"""Recurrent layers in numpy, as their papers and Keras' documentation have them."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(x, kernel, recurrent, bias, reset_after):
    """States after each step [N, T, U] for x [N, T, F]."""
    units = recurrent.shape[0]
    h, states = np.zeros((len(x), units)), []
    for t in range(x.shape[1]):
        if reset_after:
            xs, hs = x[:, t] @ kernel + bias[0], h @ recurrent + bias[1]
            z = sigmoid(xs[:, :units] + hs[:, :units])
            r = sigmoid(xs[:, units : 2 * units] + hs[:, units : 2 * units])
            candidate = np.tanh(xs[:, 2 * units :] + r * hs[:, 2 * units :])
        else:
            xs = x[:, t] @ kernel + bias
            z = sigmoid(xs[:, :units] + h @ recurrent[:, :units])
            r = sigmoid(xs[:, units : 2 * units] + h @ recurrent[:, units : 2 * units])
            candidate = np.tanh(xs[:, 2 * units :] + (r * h) @ recurrent[:, 2 * units :])
        h = z * h + (1 - z) * candidate
        states.append(h)
    return np.stack(states, axis=1)


def simple_rnn(x, kernel, recurrent, bias):
    h, states = np.zeros((len(x), recurrent.shape[0])), []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ kernel + h @ recurrent + bias)
        states.append(h)
    return np.stack(states, axis=1)


def sru(x, kernel, state_kernel, bias):
    """Outputs and states after each step."""
    units = bias.shape[1]
    c, outputs, states = np.zeros((len(x), units)), [], []
    for t in range(x.shape[1]):
        parts = np.split(x[:, t] @ kernel, kernel.shape[1] // units, axis=1)
        f = sigmoid(parts[1] + state_kernel[0] * c + bias[0])
        r = sigmoid(parts[2] + state_kernel[1] * c + bias[1])
        c = f * c + (1 - f) * parts[0]
        skip = parts[3] if len(parts) == 4 else x[:, t]
        outputs.append(r * c + (1 - r) * skip)
        states.append(c)
    return np.stack(outputs, axis=1), np.stack(states, axis=1)


def lstm(x, kernel, recurrent, bias):
    """Hidden states and cell states after each step."""
    h = c = np.zeros((len(x), recurrent.shape[0]))
    hidden, cells = [], []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        hidden.append(h)
        cells.append(c)
    return np.stack(hidden, axis=1), np.stack(cells, axis=1)


def states_by_numpy(kind, layer, x):
    """Outputs and states of a Keras layer after each step, in float64."""
    weights = [weight.astype(np.float64) for weight in layer.get_weights()]
    match kind:
        case "gru" | "gru_before":
            states = gru(x, *weights, reset_after=kind == "gru")
            return states, states
        case "sru" | "sru_same":
            return sru(x, *weights)
        case _:
            states = simple_rnn(x, *weights)
            return states, states


def relative_errors(found, wanted):
    """Root mean square error after each step, relative to the root mean square of all states: [N, T, U] -> [T]."""
    return np.sqrt(np.mean((found - wanted) ** 2, axis=(0, 2)) / np.mean(wanted**2))
