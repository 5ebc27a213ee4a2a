"""Write a TensorFlow SavedModel, as your own training would: python save_model.py FOLDER. It needs TensorFlow."""

from __future__ import annotations

import sys

import tensorflow as tf


class Dunes(tf.Module):
    """Latents (n, h, w, 8) become pictures (n, 8h, 8w, 3), 0..1: channels last, as TensorFlow has them."""

    def __init__(self) -> None:
        super().__init__()
        random = tf.random.Generator.from_seed(5)
        self.mix = tf.Variable(random.normal((3, 3, 8, 16), stddev=1.0), name="mix")
        self.paint = tf.Variable(random.normal((3, 3, 16, 3), stddev=0.15), name="paint")

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 8), tf.float32, name="latent")])
    def __call__(self, latent: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step from noise to a picture."""
        calm = tf.nn.avg_pool2d(latent, ksize=9, strides=1, padding="SAME")
        mixed = tf.tanh(tf.nn.conv2d(calm, self.mix, strides=1, padding="SAME"))
        large = tf.image.resize(mixed, 8 * tf.shape(latent)[1:3], method="bilinear")
        return {"frames": tf.sigmoid(tf.nn.conv2d(large, self.paint, strides=1, padding="SAME"))}


if __name__ == "__main__":
    model = Dunes()
    tf.saved_model.save(model, sys.argv[1], signatures={"serving_default": model.__call__})
    print(f"wrote {sys.argv[1]}")
