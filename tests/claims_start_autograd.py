"""Claims of start_autograd.py, each broken; the section must notice."""

BREAKINGS = [
    # section, a piece of its cell's source, what it is replaced by, the error
    # that this makes, if it is none of the section's own assertions
    ("forward_records_a_graph", "    e = c * d\n", "    e = c + d\n"),
    ("forward_records_a_graph", "    e.backward()\n", "", "TypeError"),
    ("backward_is_three_steps", "sigmoid() - y) / 4", "sigmoid() - y) / 2"),
    ("gradients_add_up_until_cleared", "SGD([w]).zero_grad()", "SGD([w])"),
]
