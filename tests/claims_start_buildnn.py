"""Claims of start_buildnn.py, each broken; the section must notice."""

BREAKINGS = [
    # section, a piece of its cell's source, what it is replaced by
    ("convolution_is_a_sliding_sum", "F.conv2d(image", "F.conv2d(2 * image"),
    ("an_embedding_picks_rows", "4, padding_idx=3)", "4)"),
    ("an_embedding_picks_rows", "(weights * y).sum()", "y.sum()"),
]
