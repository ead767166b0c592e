"""Claims of start_autograd.py, each broken; the section must notice."""

BREAKINGS = [
    # section, a piece of its cell's source, what it is replaced by, the error
    # that this makes, if it is none of the section's own assertions
    # Backward
    ("backward_finds_the_gradient", "y = 2 * x.dot(x)", "y = x.dot(x)"),
    (
        "backward_finds_the_gradient",
        "    y.backward()\n",
        "    y.backward()\n    x.grad *= float('nan')\n",
    ),
    ("next_functions_lead_to_the_leaves", "e = c * d\n", "e = c + d\n"),
    ("next_functions_lead_to_the_leaves", "d = b + 1\n", "d = b.clone() + 1\n"),
    ("next_functions_lead_to_the_leaves", "c = a + b\n", "c = b + a\n"),
    ("forward_computes_and_records", "-y * p.log()", "y * p.log()"),
    ("forward_computes_and_records", "z = x @ w + b", "z = b + x @ w"),
    (
        "backward_derives_chains_and_accumulates",
        "sigmoid() - y) / 4",
        "sigmoid() - y) / 2",
    ),
    (
        "backward_derives_chains_and_accumulates",
        "to_product, to_b = z.grad_fn(to_z)",
        "to_product, to_b = to_z * 0, to_z",
    ),
    (
        "backward_derives_chains_and_accumulates",
        "    accumulate(to_b.sum(dim=0))\n",
        "    b.grad = to_b[0]\n",
    ),
    (
        "backward_derives_chains_and_accumulates",
        "    loss.backward()  # all three steps, for every leaf\n",
        "    w.grad = to_w\n",
    ),
    # An engine in forty lines
    (
        "an_autograd_engine_takes_forty_lines",
        "(self, other.value), (other, self.value)",
        "(self, self.value), (other, other.value)",
    ),
    (
        "an_autograd_engine_takes_forty_lines",
        "                node.grad = 0.0\n",
        "                pass\n",
    ),
    ("an_autograd_engine_takes_forty_lines", "1 - y * y", "1 - y"),
    (
        "an_autograd_engine_takes_forty_lines",
        "        if n == 0:\n            return Scalar(1.0)\n",
        "",
        "ZeroDivisionError",
    ),
    ("an_autograd_engine_takes_forty_lines", "reversed(found)", "list(found)"),
    (
        "an_autograd_engine_takes_forty_lines",
        "return self + -other",
        "return self + other",
    ),
    (
        "an_autograd_engine_takes_forty_lines",
        "    __rmul__ = __mul__\n",
        "    __rmul__ = __add__\n",
    ),
    (
        "backward_waits_until_a_gradient_is_complete",
        "slope * node.grad)",
        "slope * gradient)",
    ),
    (
        "backward_waits_until_a_gradient_is_complete",
        "    c.backward()\n",
        "    naive_backward(c, 1.0)\n",
    ),
    (
        "the_engine_trains_a_network_as_torch_does",
        "            weight.grad = 0.0\n",
        "            pass\n",
    ),
    (
        "the_engine_trains_a_network_as_torch_does",
        "            w -= 0.5 * w.grad\n",
        "            w -= 0.4 * w.grad\n",
    ),
    (
        "the_engine_trains_a_network_as_torch_does",
        "weight.value -= 0.5 * weight.grad",
        "weight.value -= 0.4 * weight.grad",
    ),
    (
        "the_engine_trains_a_network_as_torch_does",
        "xor_output(w, 1, 1) + 1",
        "xor_output(w, -1, -1) + 1",
    ),
    # Leaves and sums
    (
        "a_leaf_was_made_by_no_recorded_operation",
        "half = w.to(torch.float16)",
        "half = w.detach().to(torch.float16).requires_grad_()",
    ),
    (
        "a_leaf_was_made_by_no_recorded_operation",
        "cut = h.detach()",
        "cut = h.clone()",
    ),
    (
        "retain_grad_keeps_the_gradient_of_a_result",
        "    h.retain_grad()",
        "    x.requires_grad_()",
        "AttributeError",
    ),
    ("retain_grad_keeps_the_gradient_of_a_result", "h**2 / 2\n", "h * 2\n"),
    (
        "backward_adds_to_grad",
        "    torch.optim.SGD([w]).zero_grad()\n",
        "    torch.optim.SGD([w]).zero_grad(set_to_none=False)\n",
    ),
    (
        "backward_adds_to_grad",
        '    print("second call',
        '    w.grad /= 2\n    print("second call',
    ),
    (
        "autograd_grad_returns_and_leaves_grad_alone",
        "gradient = torch.autograd.grad(w**2 + 5 * w, w)[0]",
        "(w**2 + 5 * w).backward(); gradient = w.grad",
    ),
    (
        "autograd_grad_returns_and_leaves_grad_alone",
        "gradient = torch.autograd.grad(w**2 + 5 * w, w)[0]",
        "gradient = torch.autograd.grad(w**2, w)[0]",
    ),
    (
        "loops_and_branches_record_what_ran",
        "        y = 10 * y",
        "        y = y",
    ),
    (
        "loops_and_branches_record_what_ran",
        "    y = 3 * x\n",
        "    y = 2 * x\n",
    ),
    (
        "loops_and_branches_record_what_ran",
        "        y = 2 * y\n",
        "        y = y + y.detach()\n",
    ),
    # Switches
    (
        "no_grad_and_inference_mode_record_nothing",
        "with torch.no_grad():",
        "with torch.enable_grad():",
    ),
    (
        "no_grad_and_inference_mode_record_nothing",
        "with torch.inference_mode():",
        "with torch.no_grad():",
    ),
    (
        "detach_stops_one_use_requires_grad_false_all",
        "(w * x).detach() + w + b\n    y.backward()",
        "(w * x + w).detach() + b\n    y.backward()",
        "AttributeError",
    ),
    (
        "detach_stops_one_use_requires_grad_false_all",
        "    w.requires_grad_(False)\n",
        "",
    ),
    (
        "detach_makes_a_constant_of_a_result",
        "u = (x * x).detach()",
        "u = x * x",
    ),
    (
        "detach_makes_a_constant_of_a_result",
        "u = (x * x).detach()",
        "u = (x + x).detach()",
    ),
    (
        "a_frozen_layer_stays_and_passes_gradients_on",
        "    model[2].requires_grad_(False)\n",
        "",
    ),
    (
        "a_frozen_layer_stays_and_passes_gradients_on",
        "    optimizer.step()\n",
        "",
    ),
    (
        "a_frozen_layer_stays_and_passes_gradients_on",
        "    model[2].requires_grad_(False)\n",
        "    model[2].weight.requires_grad_(False)\n",
    ),
    (
        "a_frozen_layer_stays_and_passes_gradients_on",
        "SGD(model.parameters()",
        "SGD(model[0].parameters()",
    ),
    ("frozen_batch_norm_still_updates_its_statistics", "    norm.eval()\n", ""),
    (
        "frozen_batch_norm_still_updates_its_statistics",
        "    norm.requires_grad_(False)\n",
        "    norm.eval()\n",
    ),
    (
        "frozen_batch_norm_still_updates_its_statistics",
        "    norm.requires_grad_(False)\n",
        "",
    ),
    # Graphs
    (
        "a_second_backward_needs_retain_graph",
        "    two.backward()\n    print",
        "    two.backward(retain_graph=True)\n    print",
    ),
    (
        "a_second_backward_needs_retain_graph",
        "    one.backward(retain_graph=True)\n",
        "    one.backward()\n",
        "RuntimeError",
    ),
    (
        "a_second_backward_needs_retain_graph",
        "    (5 * h + h**2).backward()",
        "    (5 * h).backward()",
    ),
    (
        "a_hidden_state_is_detached_between_batches",
        "    h = w * h + x\n    h.backward()\n",
        "    h = (w * h + x).detach().requires_grad_()\n    h.backward()\n",
        "AttributeError",
    ),
    (
        "a_hidden_state_is_detached_between_batches",
        "w * h.detach() + x",
        "w * h.detach() - x",
    ),
    (
        "a_hidden_state_is_detached_between_batches",
        "w * h.detach() + x",
        "w * 2.0 + x",
    ),
    (
        "backward_refuses_saved_values_changed_in_place",
        '    h += 1\n    print("h = w.exp',
        '    h = h + 1\n    print("h = w.exp',
    ),
    (
        "backward_refuses_saved_values_changed_in_place",
        "    h = w.sin()\n",
        "    h = w.tanh()\n",
        "RuntimeError",
    ),
    (
        "backward_refuses_saved_values_changed_in_place",
        "    torch.optim.SGD([w], lr=0.1).step()",
        "    pass",
    ),
    # Checking
    (
        "at_a_kink_torch_picks_a_slope",
        "    x.relu().backward()",
        "    x.sigmoid().backward()",
    ),
    ("at_a_kink_torch_picks_a_slope", "(x - 0.5).relu()", "(x + 0.5).relu()"),
    (
        "at_a_kink_torch_picks_a_slope",
        "    x.abs().backward()",
        "    (2 * x).backward()",
    ),
    ("at_a_kink_torch_picks_a_slope", "(x + 0.5).abs()", "(x + 1).abs()"),
    (
        "anomaly_mode_names_the_line_that_made_nan",
        "set_detect_anomaly(True)",
        "set_detect_anomaly(False)",
    ),
    (
        "anomaly_mode_names_the_line_that_made_nan",
        "        y = 0 * x.sqrt()\n        with",
        "        y = 0 * (x + 1).sqrt()\n        with",
    ),
    (
        "anomaly_mode_names_the_line_that_made_nan",
        "        y = 0 * (x + 1e-6).sqrt()  # right",
        "        y = 0 * x.sqrt()  # right",
        "RuntimeError",
    ),
    ("central_differences_beat_forward_ones", "/ (2 * h)", "/ h"),
    (
        "central_differences_beat_forward_ones",
        "central = ((at + h).sin() - (at - h).sin()) / (2 * h)",
        "central = forward",
    ),
    (
        "a_custom_function_brings_its_own_backward",
        "gradient * x.sigmoid()",
        "x.sigmoid()",
        "GradcheckError",
    ),
    (
        "a_custom_function_brings_its_own_backward",
        "return x.relu() + (-x.abs()).exp().log1p()",
        "return x.exp().log1p()",
    ),
    (
        "a_custom_function_brings_its_own_backward",
        "gradient * x.sigmoid()",
        "gradient * x.exp() / (1 + x.exp())",
    ),
    (
        "gradcheck_finds_a_backward_without_the_chain_rule",
        "torch.full_like(gradient, 2)",
        "2 * gradient",
    ),
    (
        "gradcheck_finds_a_backward_without_the_chain_rule",
        "return 2 * gradient",
        "return 2 + gradient",
    ),
    (
        "named_parameters_show_gradient_norms_by_layer",
        "nn.Sigmoid()",
        "nn.Identity()",
    ),
    (
        "named_parameters_show_gradient_norms_by_layer",
        "parameter.grad.norm()",
        "parameter.norm()",
    ),
    # Beyond gradients
    (
        "backward_with_a_vector_is_v_times_the_jacobian",
        "3 * x[1]]",
        "2 * x[1]]",
    ),
    (
        "backward_with_a_vector_is_v_times_the_jacobian",
        "(v @ y).backward()",
        "y.sum().backward()",
    ),
    ("jvp_is_the_jacobian_times_a_direction", "(x,), (u,)", "(u,), (x,)"),
    ("jvp_is_the_jacobian_times_a_direction", "[1.0, -1.0]", "[1.0, 1.0]"),
    (
        "jacrev_goes_by_outputs_jacfwd_by_inputs",
        "for v in torch.eye(5, device=device)",
        "for v in torch.eye(5, device=device)[:4]",
    ),
    ("jacrev_goes_by_outputs_jacfwd_by_inputs", "t * growth(x)", "growth(x)"),
    (
        "create_graph_gives_higher_derivatives",
        "y = x.tanh()",
        "y = x.sigmoid()",
    ),
    (
        "create_graph_gives_higher_derivatives",
        "grad(second, x, retain_graph=True)",
        "grad(second, x, create_graph=True)",
    ),
    (
        "the_hessian_is_the_jacobian_of_the_gradient",
        "torch.func.hessian(saddle)(w.detach())",
        "torch.func.hessian(saddle)(2 * w.detach())",
    ),
    (
        "the_hessian_is_the_jacobian_of_the_gradient",
        "grad(gradient[1], w)",
        "grad(gradient[0], w)",
    ),
    ("a_hessian_vector_product_needs_no_hessian", "gradient @ u", "loss * 3"),
    ("a_hessian_vector_product_needs_no_hessian", "w**4", "w**3"),
    ("vmap_gives_each_sample_its_gradient", "[17.0]", "[7.0]"),
    (
        "vmap_gives_each_sample_its_gradient",
        "F.mse_loss(output, y)",
        "F.l1_loss(output, y)",
    ),
    (
        "vmap_gives_each_sample_its_gradient",
        "torch.func.functional_call(model, weights, x)",
        "model(x)",
    ),
    (
        "vmap_gives_each_sample_its_gradient",
        "tensor([[1.0, 2.0]])",
        "tensor([[2.0, 1.0]])",
    ),
    (
        "hooks_read_or_replace_a_gradient",
        "    h.register_hook(clip_to_5)\n",
        "",
    ),
    ("hooks_read_or_replace_a_gradient", "clamp(-5, 5)", "clamp(-4, 4)"),
    (
        "hooks_read_or_replace_a_gradient",
        "    h.register_hook(seen.append)",
        "    w.register_hook(seen.append)",
    ),
    (
        "checkpoint_trades_time_for_memory",
        "h = checkpoint(wave, h, runs, use_reentrant=False)",
        "h = wave(h, runs)",
    ),
    (
        "checkpoint_trades_time_for_memory",
        "with hooks, torch.no_grad():",
        "with hooks, torch.enable_grad():",
    ),
    (
        "checkpoint_trades_time_for_memory",
        '    h.sum().backward()\n    print(f"checkpoint',
        '    x.grad = plain\n    print(f"checkpoint',
    ),
    ("checkpoint_trades_time_for_memory", "    x.grad = None\n", ""),
    (
        "checkpoint_trades_time_for_memory",
        "x.sin().cos().sin()",
        "x.sin().cos()",
    ),
    # 16 bits
    (
        "small_gradients_vanish_in_float16",
        "loss = 1e-8 * w.to(torch.float16).float()",
        "loss = 1e-8 * w.float()",
    ),
    ("small_gradients_vanish_in_float16", "w.grad / 2**16", "w.grad / 2**15"),
    ("small_gradients_vanish_in_float16", "(loss * 2**16)", "(loss * 2**44)"),
    ("small_gradients_vanish_in_float16", "torch.bfloat16", "torch.float16 "),
    (
        "small_gradients_vanish_in_float16",
        "w.to(torch.bfloat16).float()",
        "w.to(torch.float32).float()",
    ),
    (
        "grad_scaler_halves_its_scale_until_all_is_finite",
        "        scaler.update()",
        "        scaler.update(2.0**44)",
    ),
    (
        "grad_scaler_halves_its_scale_until_all_is_finite",
        "        scaler.step(optimizer)",
        "        optimizer.step()",
    ),
    (
        "autocast_computes_in_16_bits_and_keeps_float32_weights",
        "        output = model(x)\n",
        "        output = model(x).float()\n",
    ),
    (
        "autocast_computes_in_16_bits_and_keeps_float32_weights",
        "    rough = model.weight.grad\n",
        "    rough = model.weight.grad + float('nan')\n",
    ),
    (
        "a_network_trains_with_autocast_or_without",
        "enabled=amp):",
        "enabled=True):",
    ),
    (
        "a_network_trains_with_autocast_or_without",
        "        scaler.step(optimizer)\n",
        "",
    ),
    (
        "a_network_trains_with_autocast_or_without",
        "        optimizer.zero_grad()\n",
        "",
    ),
    # Mistakes
    ("mistakes_cut_the_graph", "(w * x).sum()", "(w + x).sum()"),
    ("mistakes_cut_the_graph", "(w.detach() * x)", "(w * x)"),
    (
        "mistakes_change_a_weight",
        "        w[0] = 0.5\n    assert",
        "        pass\n    assert",
    ),
    (
        "mistakes_change_a_weight",
        "        w -= 0.1 * w.grad\n    assert",
        "        w -= 0.2 * w.grad\n    assert",
    ),
    (
        "mistakes_make_a_new_tensor_of_a_weight",
        "new = w - 0.1 * w.grad\n    print",
        "new = w.detach() - 0.1 * w.grad\n    print",
    ),
    (
        "mistakes_make_a_new_tensor_of_a_weight",
        "        w -= 0.1 * w.grad\n    print",
        "        w -= 0.2 * w.grad\n    print",
    ),
    (
        "mistakes_make_a_new_tensor_of_a_weight",
        "        w -= 0.1 * w.grad\n    print",
        "        w = w - 0.1 * w.grad\n    print",
    ),
    (
        "mistakes_take_a_result_for_a_plain_tensor",
        "w = torch.ones(3, requires_grad=True)",
        "w = torch.ones(3)",
    ),
    ("mistakes_take_a_result_for_a_plain_tensor", "h = 2 * w", "h = 3 * w"),
    ("mistakes_freeze_a_result", "h = h.detach()", "h = h.clone()"),
    ("mistakes_freeze_a_result", "    w.requires_grad = False", "    pass"),
    ("mistakes_ask_for_a_gradient", "[1, 2]", "[1.0, 2.0]"),
    ("mistakes_ask_for_a_gradient", "(w**2).sum()", "(w**3).sum()"),
    (
        "mistake_requires_grad_on_a_loss",
        "layer(x).detach().square()",
        "layer(x).square()",
    ),
    (
        "mistake_requires_grad_on_a_loss",
        "    output.square().sum().backward()\n",
        "    layer.weight.grad = torch.full((1, 2), float('nan'))\n",
    ),
    (
        "mistake_torch_tensor_of_tensors",
        "pair = torch.stack([a, b])",
        "pair = torch.tensor([a, b])",
    ),
    (
        "mistake_torch_tensor_of_tensors",
        "pair = torch.tensor([a, b])\n",
        "pair = torch.stack([a, b])\n",
    ),
    (
        "mistake_torch_tensor_of_tensors",
        "torch.stack([a, b])\n",
        "torch.stack([a, b.detach()])\n",
    ),
    (
        "mistake_round_has_slope_zero",
        "    rounded = w + (w.round() - w).detach()",
        "    rounded = w + (w.round() - w)",
    ),
    (
        "mistake_round_has_slope_zero",
        "loss = (w.round() - 5)",
        "loss = (w - 5)",
    ),
    ("mistake_data_hides_a_change", "    h.data.zero_()\n", ""),
    (
        "mistake_data_hides_a_change",
        "copied = h.detach().clone()",
        "copied = h.data",
    ),
    ("mistake_frozen_after_backward", "    optimizer.zero_grad()\n", ""),
    (
        "mistake_frozen_after_backward",
        "    w.requires_grad_(False)\n    optimizer.step()\n",
        "    w.requires_grad_(False); w.grad = None\n    optimizer.step()\n",
    ),
    (
        "mistake_detach_shares_memory",
        "copied = w.detach().clone()",
        "copied = w.detach()",
    ),
    (
        "mistake_detach_shares_memory",
        "window = w.detach()\n",
        "window = w.detach().clone()\n",
    ),
    (
        "mistake_a_sum_of_losses_keeps_every_graph",
        "        total += loss\n",
        "        total = loss\n",
    ),
    (
        "mistake_a_sum_of_losses_keeps_every_graph",
        "total += loss.item()\n",
        "total += loss\n",
    ),
    (
        "mistake_where_lets_nan_through",
        "inside.sqrt(), 0.0)\n",
        "x.sqrt(), 0.0)\n",
    ),
    (
        "mistake_where_lets_nan_through",
        "y = torch.where(x > 0, x.sqrt(), 0.0)",
        "y = torch.where(x > 0, (x + 1).sqrt(), 0.0)",
    ),
]
