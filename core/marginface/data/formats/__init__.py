"""RecordIO and TFRecord files of labelled images, without MXNet or TensorFlow."""
