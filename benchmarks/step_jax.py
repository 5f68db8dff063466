"""The reference CNN and its training step in JAX; run by frameworks.py in another environment.

Prints, as JSON, the figures of loop_vs_fit.py for a batch that stays in memory.
"""

# Installed in another environment.
# pyright: reportMissingImports=false

import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

LAYOUT = ("NHWC", "HWIO", "NHWC")


def _parameters(rng: np.random.Generator) -> list[tuple[jax.Array, jax.Array]]:
    """Returns kernels by Glorot's rule and biases of zero, as Keras initializes them."""
    shapes = [(3, 3, 3, 32), (3, 3, 32, 64), (3, 3, 64, 64), (1024, 64), (64, 10)]
    made = []
    for shape in shapes:
        area = int(np.prod(shape[:-2]))
        limit = (6 / (area * (shape[-2] + shape[-1]))) ** 0.5
        kernel = rng.uniform(-limit, limit, shape).astype(np.float32)
        made.append((jnp.asarray(kernel), jnp.zeros(shape[-1])))
    return made


def _logits(parameters: list, images: jax.Array) -> jax.Array:
    x = images.astype(jnp.float32) / 255
    for index, (kernel, bias) in enumerate(parameters[:3]):
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=LAYOUT)
        x = jax.nn.relu(x + bias)
        if index < 2:
            size = (1, 2, 2, 1)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, size, size, "VALID")
    x = x.reshape(x.shape[0], -1)
    (hidden, bias), (last, last_bias) = parameters[3:]
    return jax.nn.relu(x @ hidden + bias) @ last + last_bias


def _loss(parameters: list, images: jax.Array, labels: jax.Array) -> jax.Array:
    log = jax.nn.log_softmax(_logits(parameters, images))
    return -jnp.mean(jnp.take_along_axis(log, labels[:, None], axis=1))


@jax.jit
def _step(parameters: list, velocity: list, images: jax.Array, labels: jax.Array) -> tuple:
    loss, gradients = jax.value_and_grad(_loss)(parameters, images, labels)
    velocity = jax.tree.map(lambda v, g: 0.9 * v - 0.01 * g, velocity, gradients)
    return jax.tree.map(jnp.add, parameters, velocity), velocity, loss


def _measure(images: np.ndarray, labels: np.ndarray, steps: int, warm_up: int) -> dict[str, float]:
    batch = jnp.asarray(images), jnp.asarray(labels)
    parameters = _parameters(np.random.default_rng(0))
    velocity = jax.tree.map(jnp.zeros_like, parameters)
    for _ in range(warm_up):
        parameters, velocity, loss = _step(parameters, velocity, *batch)
    jax.block_until_ready(loss)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        parameters, velocity, loss = _step(parameters, velocity, *batch)
    jax.block_until_ready(loss)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    count = steps * len(labels)
    return {"examples_per_s": count / wall, "cpu_us_per_example": 1e6 * cpu / count}


if __name__ == "__main__":
    data, examples, warm_up, *sizes = sys.argv[1:]
    arrays = np.load(data)
    figures = {}
    for size in map(int, sizes):
        images, labels = arrays["images"][:size], arrays["labels"][:size]
        taken = _measure(images, labels, max(2, int(examples) // size), int(warm_up))
        figures |= {f"{figure}@{size}": value for figure, value in taken.items()}
    print(json.dumps(figures))
