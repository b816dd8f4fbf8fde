"""One file a format of images: folders, RecordIO, TFRecord, and their indices."""
