"""Tensors that are packed into one vector per data type."""

import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.distribution.parameter_server.packing import pack, unpack


def test_packed_tensors_are_one_vector_per_type_and_are_restored() -> None:
    tensors = {
        "gradients": [tf.reshape(tf.range(6.0), [2, 3]), tf.zeros([0, 4]), tf.constant(7.0)],
        "seed": tf.constant([1, 2], tf.uint32),
        "half": tf.constant([[0.5]], tf.float16),
        "more": tf.fill([3, 1], 9.0),
    }
    specs = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), tensors)

    vectors = pack(tensors)
    restored = unpack(vectors, specs)

    assert {v.dtype: v.shape[0] for v in vectors} == {tf.float32: 10, tf.uint32: 2, tf.float16: 1}
    assert len(vectors) == 3
    tf.nest.map_structure(np.testing.assert_array_equal, restored, tensors)
