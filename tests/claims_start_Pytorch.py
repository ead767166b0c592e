"""Claims of start_Pytorch.py, each broken; the section must notice."""

BREAKINGS = [
    # section, a piece of its cell's source, what it is replaced by, the error
    # that this makes, if it is none of the section's own assertions
    #
    # Tensors
    (
        "a_tensor_has_shape_dtype_and_device",
        "[4.0, 5.0, 6.0]], d",
        "[4.0, 5.0, 9.0]], d",
    ),
    (
        "a_tensor_has_shape_dtype_and_device",
        "[4.0, 5.0, 6.0]], device",
        "[4.0, 5.0, 6.0]], dtype=torch.float64, device",
    ),
    (
        "five_ways_to_create_a_tensor",
        "torch.arange(0, 6, 2, d",
        "torch.arange(0, 7, 2, d",
    ),
    ("five_ways_to_create_a_tensor", "torch.randn(10_000", "torch.rand(10_000"),
    (
        "five_ways_to_create_a_tensor",
        "torch.zeros_like(data)  #",
        "torch.zeros(2, 3)  #",
    ),
    (
        "manual_seed_repeats_random_numbers",
        "    torch.manual_seed(0)\n    again",
        "    again",
    ),
    (
        "manual_seed_repeats_random_numbers",
        "torch.rand(2, generator=generator)",
        "torch.rand(2)",
    ),
    ("to_returns_a_tensor_on_another_device", 'x.to("meta")\n', "x.clone()\n"),
    (
        "to_returns_a_tensor_on_another_device",
        "x.to(device) is x",
        "x.to(device, copy=True) is x",
    ),
    (
        "to_returns_a_tensor_on_another_device",
        'model.to("meta")\n',
        'model.state_dict()["weight"].to("meta")\n',
    ),
    (
        "to_returns_a_tensor_on_another_device",
        'model(batch.to("meta"))  #',
        "nn.Linear(3, 1)(batch)  #",
    ),
    (
        "slices_share_memory_and_index_lists_copy",
        "row = x[1]",
        "row = x[1].clone()",
    ),
    (
        "slices_share_memory_and_index_lists_copy",
        "listed = x[:, [3, 0]]",
        "listed = x[:, [0, 3]]",
    ),
    (
        "slices_share_memory_and_index_lists_copy",
        "x[[0, 1]][0] = 99  #",
        "x[0:1][0] = 99  #",
    ),
    ("a_mask_selects_and_writes", "mask = x < 0\n", "mask = x <= 3\n"),
    ("a_mask_selects_and_writes", "    x[mask] = 0\n", "    x[mask].zero_()\n"),
    (
        "a_mask_selects_and_writes",
        "both = (x % 2 == 1) & (x > 0)",
        "both = (x % 2 == 1) | (x > 0)",
    ),
    (
        "cat_makes_a_dim_longer_stack_makes_a_new_one",
        "torch.cat([a, b], dim=1)",
        "torch.cat([b, a], dim=1)",
    ),
    (
        "cat_makes_a_dim_longer_stack_makes_a_new_one",
        "stacked = torch.stack([a, b])",
        "stacked = torch.cat([a, b])",
    ),
    (
        "unsqueeze_adds_a_dim_of_size_1",
        "image[None, None]  #",
        "image[None]  #",
    ),
    (
        "unsqueeze_adds_a_dim_of_size_1",
        "channel = image.unsqueeze(0)",
        "channel = image.unsqueeze(1)",
    ),
    (
        "unsqueeze_adds_a_dim_of_size_1",
        "batch[0, 0, 2, 5] = 1",
        "batch.clone()[0, 0, 2, 5] = 1",
    ),
    (
        "view_cuts_the_same_numbers_anew",
        "flat = images.view(10_000, -1)",
        "flat = images.view(10_000, -1).clone()",
    ),
    (
        "view_cuts_the_same_numbers_anew",
        "flat = images.view(10_000, -1)",
        "flat = images.view(5_000, -1)",
    ),
    (
        "view_cuts_the_same_numbers_anew",
        "        images.view(-1, -1)\n",
        "        images.view(-1, 784)\n",
    ),
    (
        "view_cuts_the_same_numbers_anew",
        "images.view(-1, 784)  #",
        "images.view(-1, 28)  #",
    ),
    (
        "permute_reorders_dims_without_copying",
        "x.permute(1, 0)  #",
        "x.view(3, 2)  #",
    ),
    (
        "permute_reorders_dims_without_copying",
        "turned.contiguous()\n",
        "turned\n",
    ),
    (
        "permute_reorders_dims_without_copying",
        "row = turned.reshape(6)",
        "row = x.reshape(6)",
    ),
    (
        "broadcasting_is_a_loop_that_nobody_writes",
        "total = x + y",
        "total = x - y",
    ),
    (
        "broadcasting_is_a_loop_that_nobody_writes",
        "table - table.mean(dim=0)\n",
        "table - table.mean()\n",
    ),
    (
        "broadcasting_is_a_loop_that_nobody_writes",
        "torch.ones(3, 4, 1, device=device)  #",
        "torch.ones(1, 4, 1, device=device)  #",
        "IndexError",
    ),
    (
        "reductions_remove_the_dim_they_are_given",
        "x.sum(dim=0)  #",
        "x.sum(dim=1)  #",
    ),
    (
        "reductions_remove_the_dim_they_are_given",
        "dim=1, keepdim=True)  #",
        "dim=1)  #",
    ),
    (
        "reductions_remove_the_dim_they_are_given",
        "x.argmax(dim=1)  #",
        "x.argmin(dim=1)  #",
    ),
    (
        "where_gather_and_topk_replace_loops",
        "torch.where(logits < 2, 0.0, logits)  #",
        "torch.where(logits < 2, logits, 0.0)  #",
    ),
    (
        "where_gather_and_topk_replace_loops",
        "logits.topk(2, dim=1)",
        "logits.topk(2, dim=1, largest=False)",
    ),
    ("where_gather_and_topk_replace_loops", ".any(dim=1)", ".all(dim=1)"),
    (
        "from_numpy_shares_memory_tensor_copies",
        "torch.from_numpy(array)",
        "torch.tensor(array)",
    ),
    (
        "from_numpy_shares_memory_tensor_copies",
        "copied = torch.tensor(array)",
        "copied = torch.as_tensor(array)",
    ),
    (
        "from_numpy_shares_memory_tensor_copies",
        "back = x.numpy()",
        "back = x.numpy().copy()",
    ),
    (
        "result_type_is_the_smallest_that_holds_both",
        "brain = single.to(torch.bfloat16)",
        "brain = single.to(torch.float16)",
    ),
    (
        "result_type_is_the_smallest_that_holds_both",
        "assert_close(whole / 2,",
        "assert_close(whole // 2,",
    ),
    (
        "result_type_is_the_smallest_that_holds_both",
        "dtype=torch.int8",
        "dtype=torch.int32",
    ),
    (
        "result_type_is_the_smallest_that_holds_both",
        "assert_close(byte + torch.tensor(3),",
        "assert_close(byte + torch.tensor([3]),",
    ),
    (
        "einsum_sums_over_letters_that_vanish",
        'torch.einsum("ij,jk->ik", x, y)',
        'torch.einsum("ij,jk->ki", x, y)',
    ),
    ("einsum_sums_over_letters_that_vanish", '"ij->i", x', '"ij->j", x'),
    # Automatic differentiation
    ("a_computation_graph_is_walked_backward", "e = c * d\n", "e = c + d\n"),
    (
        "a_computation_graph_is_walked_backward",
        "    e.backward()\n",
        "    e.backward()\n    b.grad *= float('nan')\n",
    ),
    (
        "autograd_agrees_with_calculus",
        "    f = (x - 2) ** 2\n",
        "    f = (x - 2) ** 4\n",
    ),
    (
        "autograd_agrees_with_calculus",
        "first = 2 * 2 - 2 * math.sin",
        "first = 2 * 2 + 2 * math.sin",
    ),
    ("autograd_agrees_with_calculus", "math.cos(math.pi / 3)", "-1"),
    ("gradient_descent_halves_the_distance", "x.grad = None", "pass"),
    (
        "gradient_descent_halves_the_distance",
        "x -= lr * x.grad",
        "x += lr * x.grad",
    ),
    (
        "linear_regression_by_formula_and_by_autograd",
        "2 / 50 * x.T",
        "1 / 50 * x.T",
    ),
    (
        "linear_regression_by_formula_and_by_autograd",
        "        v.grad = None\n",
        "",
    ),
    (
        "linear_regression_by_formula_and_by_autograd",
        "best = torch.linalg.pinv(x) @ y",
        "best = v.detach()",
    ),
    (
        "linear_regression_by_module_and_optimizer",
        "        optimizer.step()  #",
        "        #",
    ),
    (
        "linear_regression_by_module_and_optimizer",
        "        optimizer.zero_grad()  #",
        "        #",
    ),
    (
        "linear_regression_by_module_and_optimizer",
        "w = w - 0.1",
        "w = w - 0.05",
    ),
    (
        "stochastic_descent_leads_after_one_pass",
        "single.mean(dim=0)",
        "single.sum(dim=0)",
    ),
    (
        "stochastic_descent_leads_after_one_pass",
        "single = 2 * (x",
        "single = (x",
    ),
    (
        "stochastic_descent_leads_after_one_pass",
        "excess_of_each_pass(x, y, batch_size=1, lr=lr)",
        "excess_of_each_pass(x, y, batch_size=50, lr=lr)",
    ),
    (
        "stochastic_descent_leads_after_one_pass",
        "excess_of_each_pass(x, y, batch_size=50",
        "excess_of_each_pass(x, y, batch_size=5",
    ),
    ("stochastic_descent_leads_after_one_pass", "w = w - lr", "w = w + lr"),
    (
        "stochastic_descent_leads_after_one_pass",
        "split(batch_size)",
        "split(len(x))",
    ),
    # Common modules and functions
    (
        "two_linear_layers_without_activation_are_one",
        "x @ first.weight.T + first.bias",
        "x @ first.weight.T - first.bias",
    ),
    (
        "two_linear_layers_without_activation_are_one",
        "nn.Sequential(first, second)(x)  #",
        "nn.Sequential(first, nn.ReLU(), second)(x)  #",
    ),
    (
        "two_linear_layers_without_activation_are_one",
        "nn.Sequential(first, nn.ReLU(), second)",
        "nn.Sequential(first, nn.Identity(), second)",
    ),
    (
        "a_class_of_nn_module_has_init_and_forward",
        "self.hidden(x).relu()",
        "self.hidden(x).tanh()",
    ),
    (
        "a_class_of_nn_module_has_init_and_forward",
        "self.output = nn.Linear(4, 2)",
        "self.output = nn.Linear(4, 2, bias=False)",
    ),
    (
        "relu_tanh_sigmoid_silu_gelu_by_formula",
        "gelu = F.gelu(x)",
        "gelu = F.gelu(x, approximate='tanh') + 0.001",
    ),
    (
        "relu_tanh_sigmoid_silu_gelu_by_formula",
        "silu = F.silu(x)",
        "silu = F.gelu(x)",
    ),
    (
        "relu_tanh_sigmoid_silu_gelu_by_formula",
        "relu = F.relu(x)",
        "relu = x * float('nan')",
    ),
    (
        "cross_entropy_is_minus_the_log_probability",
        "disaster = torch.tensor([[0.0, 5.0]]",
        "disaster = torch.tensor([[5.0, 0.0]]",
    ),
    (
        "cross_entropy_is_minus_the_log_probability",
        "right.softmax(dim=1)[0, 0]",
        "right.softmax(dim=1)[0, 1]",
    ),
    (
        "mse_l1_and_huber_by_formula",
        "F.mse_loss(guess, target)",
        "F.l1_loss(guess, target)",
    ),
    (
        "mse_l1_and_huber_by_formula",
        "F.huber_loss(guess, target)",
        "F.huber_loss(guess, target, delta=2.0)",
    ),
    (
        "a_falling_rate_ends_nearer_the_minimum",
        "            scheduler.step()  #",
        "            pass  #",
    ),
    (
        "a_falling_rate_ends_nearer_the_minimum",
        "x, y, falling=True",
        "x, y, falling=False",
    ),
    (
        "a_falling_rate_ends_nearer_the_minimum",
        "            optimizer.step()\n",
        "",
    ),
    (
        "a_falling_rate_ends_nearer_the_minimum",
        "            optimizer.zero_grad()\n",
        "",
    ),
    (
        "a_falling_rate_ends_nearer_the_minimum",
        "    return farthest, rates\n",
        "    return float('nan'), rates\n",
    ),
    (
        "adam_and_momentum_fit_a_wave_plain_sgd_does_not",
        "lr=0.04, momentum=0.9",
        "lr=0.04, momentum=0.0",
    ),
    (
        "adam_and_momentum_fit_a_wave_plain_sgd_does_not",
        "optim.Adam(adam.parameters(), lr=0.015)",
        "optim.SGD(adam.parameters(), lr=0.015)",
    ),
    (
        "adam_and_momentum_fit_a_wave_plain_sgd_does_not",
        "by_sgd = fit_wave(sgd, optimizer, inputs, y)",
        "by_sgd = sgd(inputs).detach()",
    ),
    (
        "adam_and_momentum_fit_a_wave_plain_sgd_does_not",
        "momentum = wave_net().to(device)",
        "momentum = sgd",
    ),
    (
        "adam_and_momentum_fit_a_wave_plain_sgd_does_not",
        "adam = wave_net().to(device)",
        "adam = sgd",
    ),
    (
        "convolution_is_a_weighted_sum_at_each_place",
        "[[-1.0, 1.0], [-1.0, 1.0]]",
        "[[1.0, -1.0], [-1.0, 1.0]]",
    ),
    (
        "convolution_is_a_weighted_sum_at_each_place",
        "F.conv2d(",
        "F.conv_transpose2d(",
    ),
    (
        "kernels_blur_find_edges_and_sharpen",
        "torch.stack([blur, same - blur",
        "torch.stack([same, same - blur",
    ),
    ("kernels_blur_find_edges_and_sharpen", "2 * same - blur", "same + blur"),
    (
        "kernels_blur_find_edges_and_sharpen",
        "padding=2, bias=False)",
        "padding=2)",
    ),
    ("conv2d_maps_3_channels_to_16", "kernel_size=5).to", "kernel_size=3).to"),
    (
        "conv2d_maps_3_channels_to_16",
        "padding=2, stride=2",
        "padding=1, stride=2",
    ),
    # Dataset and DataLoader
    (
        "a_dataset_of_arrays_answers_len_and_index",
        "torch.from_numpy(array).float()",
        "torch.from_numpy(array)",
    ),
    (
        "a_dataset_of_arrays_answers_len_and_index",
        "return self.x[index], self.y[index]",
        "return self.x[index], self.y[index - 1]",
    ),
    (
        "batch_size_cuts_a_dataset_into_batches",
        "drop_last=True)\n    print",
        "drop_last=False)\n    print",
    ),
    (
        "batch_size_cuts_a_dataset_into_batches",
        "in DataLoader(data, batch_size=3)",
        "in DataLoader(data, batch_size=4)",
    ),
    (
        "batch_size_cuts_a_dataset_into_batches",
        "in DataLoader(data, batch_size=3)",
        "in DataLoader(data, batch_size=3, shuffle=True)",
    ),
    (
        "shuffle_gives_another_order_in_each_epoch",
        "shuffle=True, generator",
        "shuffle=False, generator",
    ),
    (
        "shuffle_gives_another_order_in_each_epoch",
        "    generator.manual_seed(0)\n",
        "",
    ),
    (
        "num_workers_fetch_in_other_processes",
        "return 2 * index, os.getpid()",
        "return 3 * index, os.getpid()",
    ),
    ("num_workers_fetch_in_other_processes", "os.getpid()\n", "1\n"),
    # A whole model in one page
    (
        "eval_and_no_grad_before_predicting",
        "nn.Linear(16 * 7 * 7, 10)",
        "nn.Linear(16 * 7 * 7, 11)",
    ),
    (
        "train_on_some_fonts_and_score_on_others",
        "            optimizer.step()\n",
        "",
    ),
    (
        "train_on_some_fonts_and_score_on_others",
        "    model.train()  #",
        "    #",
    ),
    ("train_on_some_fonts_and_score_on_others", "    model.eval()  #", "    #"),
    (
        "train_on_some_fonts_and_score_on_others",
        "argmax(dim=1)\n",
        "argmin(dim=1)\n",
    ),
    (
        "train_on_some_fonts_and_score_on_others",
        'font_digits("test", 500)',
        "(images, labels)",
    ),
    (
        "train_on_some_fonts_and_score_on_others",
        'font_digits("test", 500)',
        'font_digits("validation", 500)',
    ),
    (
        "train_on_some_fonts_and_score_on_others",
        "accuracy(model, last_images, last_labels)",
        "accuracy(model, new_images, new_labels)",
    ),
    ("eval_and_no_grad_before_predicting", "    model.eval()\n", ""),
    (
        "eval_and_no_grad_before_predicting",
        "    with torch.no_grad():\n",
        "    with torch.enable_grad():\n",
    ),
    (
        "save_and_load_a_state_dict",
        "    loaded.load_state_dict(state)  #",
        "    #",
    ),
    (
        "save_and_load_a_state_dict",
        "Net().to(device).eval()\n    assert",
        "Net().to(device).train()\n    assert",
    ),
    (
        "predict_one_image_of_your_own",
        "np.array(grey)) / 255",
        "np.array(grey)) / 255 * 0",
    ),
    (
        "predict_one_image_of_your_own",
        "    model.eval()\n",
        "    model.train()\n",
    ),
    (
        "predict_one_image_of_your_own",
        "        picture.save(",
        "        picture.transpose(1).save(",
    ),
    (
        "predict_one_image_of_your_own",
        "image = 1 - image",
        "image = image",
    ),
    (
        "predict_one_image_of_your_own",
        ".resize((28, 28))",
        "",
        "RuntimeError",
    ),
    ("predict_one_image_of_your_own", '.convert("L")', "", "RuntimeError"),
    # Mixed precision
    (
        "float16_has_digits_bfloat16_has_range",
        "brain = x.to(torch.bfloat16)",
        "brain = x.to(torch.float16)",
    ),
    (
        "float16_has_digits_bfloat16_has_range",
        "half = x.to(torch.float16)",
        "half = x.to(torch.bfloat16)",
    ),
    (
        "autocast_picks_a_dtype_for_each_operation",
        "torch.autocast(device.type, half)",
        "torch.autocast(device.type, half, enabled=False)",
    ),
    (
        "autocast_picks_a_dtype_for_each_operation",
        "loss = F.cross_entropy(logits, labels)",
        "loss = logits.sum()",
    ),
    (
        "grad_scaler_scales_skips_and_goes_on",
        'GradScaler("cpu", init_scale=65536.0)',
        'GradScaler("cpu", enabled=False)',
    ),
    (
        "grad_scaler_scales_skips_and_goes_on",
        "    scaler.step(optimizer)  # 1.5",
        "    # 1.5",
    ),
    (
        "mixed_precision_ends_at_the_same_loss",
        "torch.autocast(kind, dtype, enabled=dtype != torch.float32)",
        "torch.autocast(kind, dtype, enabled=False)",
    ),
    (
        "mixed_precision_ends_at_the_same_loss",
        "            scaler.step(optimizer)\n",
        "",
    ),
    (
        "mixed_precision_ends_at_the_same_loss",
        "            optimizer.zero_grad()\n",
        "",
    ),
    (
        "mixed_precision_ends_at_the_same_loss",
        "    train_mixed(mixed, x, labels, half)\n",
        "    train_mixed(mixed, x, labels, torch.float32)\n",
    ),
    (
        "mixed_precision_ends_at_the_same_loss",
        "    model.eval()\n",
        "",
    ),
    (
        "mixed_precision_ends_at_the_same_loss",
        "cpu() == labels",
        "cpu() != labels",
    ),
    # Mistakes
    (
        "mistakes_with_shapes_that_stop",
        "images.view(10, 784)",
        "images.view(30, 784)",
    ),
    (
        "mistakes_with_shapes_that_stop",
        "torch.cat([a, b], dim=1)",
        "torch.cat([a, a], dim=1)",
    ),
    (
        "mistakes_with_dims_that_stop",
        "x[0].sum(dim=1)",
        "x[0].sum(dim=-1)",
    ),
    (
        "mistakes_with_dims_that_stop",
        "torch.tensor([[1, 2], [3, 4, 5]])",
        "torch.tensor([[1, 2], [3, 4]])",
    ),
    (
        "mistake_n_by_1_minus_n_is_n_by_n",
        "wrong = ((guess - target)",
        "wrong = ((guess[:, 0] - target)",
    ),
    (
        "mistake_n_by_1_minus_n_is_n_by_n",
        "right = ((guess[:, 0] - target)",
        "right = ((guess - target)",
    ),
    (
        "mistake_view_where_permute_was_meant",
        "picture.view(3, 1, 2)\n",
        "picture.permute(2, 0, 1)\n",
    ),
    (
        "mistake_view_where_permute_was_meant",
        "picture.permute(2, 0, 1)  #",
        "picture.view(3, 1, 2)  #",
    ),
    (
        "mistake_squeeze_of_a_batch_of_one",
        "wrong = one.squeeze()",
        "wrong = one.squeeze(1)",
    ),
    (
        "mistake_squeeze_of_a_batch_of_one",
        "right = one.squeeze(1)",
        "right = one.squeeze()",
    ),
    (
        "mistake_star_is_not_the_matrix_product",
        "wrong = a * b",
        "wrong = a @ b",
    ),
    (
        "mistake_star_is_not_the_matrix_product",
        "right = a @ b",
        "right = b @ a",
    ),
    (
        "mistakes_with_numpy_that_stop",
        "np.ones((2, 2))",
        "np.ones((2, 2), dtype=np.float32)",
    ),
    (
        "mistakes_with_numpy_that_stop",
        "requires_grad=True",
        "requires_grad=False",
    ),
    (
        "mistakes_with_whole_numbers_and_if_that_stop",
        "torch.tensor([1, 2], d",
        "torch.tensor([1.0, 2.0], d",
    ),
    (
        "mistakes_with_whole_numbers_and_if_that_stop",
        "(whole > 1).any()",
        "(whole > 1).all()",
    ),
    (
        "mistakes_with_integers_that_are_silent",
        "dtype=torch.uint8",
        "dtype=torch.int16",
    ),
    (
        "mistakes_with_integers_that_are_silent",
        "right = pixels.float() + 100",
        "right = pixels + 100",
    ),
    (
        "mistakes_with_integers_that_are_silent",
        "    floats[0] = 0.5\n",
        "    floats[0] = float('nan')\n",
    ),
    (
        "mistakes_with_to_and_torch_capital_tensor",
        "x = x.to(torch.float16)\n    print",
        "x.to(torch.float16)\n    print",
    ),
    (
        "mistakes_with_to_and_torch_capital_tensor",
        "wrong = torch.Tensor(3)",
        "wrong = torch.tensor(3)",
    ),
    (
        "mistakes_with_labels_that_stop",
        "F.cross_entropy(logits, labels + 1)",
        "F.cross_entropy(logits, 1 - labels)",
    ),
    (
        "mistakes_with_labels_that_stop",
        "loss = F.cross_entropy(logits, labels)",
        "loss = F.cross_entropy(logits, 1 - labels)",
    ),
    (
        "mistake_softmax_before_cross_entropy",
        "wrong = F.cross_entropy(logits.softmax(dim=1), l",
        "wrong = F.cross_entropy(logits, l",
    ),
    (
        "mistake_softmax_before_cross_entropy",
        "right = F.cross_entropy(logits, labels)",
        "right = F.cross_entropy(logits, labels) * float('nan')",
    ),
    (
        "mistake_softmax_over_the_batch",
        "wrong = logits.softmax(dim=0)",
        "wrong = logits.softmax(dim=1)",
    ),
    (
        "mistake_softmax_over_the_batch",
        "right = logits.softmax(dim=1)",
        "right = logits.softmax(dim=0)",
    ),
    ("mistake_a_rate_too_large_ends_in_nan", "lr=1.9)", "lr=0.9)"),
    ("mistake_a_rate_too_large_ends_in_nan", "lr=0.25)", "lr=1.0)"),
    ("mistake_zero_grad_forgotten", "        optimizer.zero_grad()\n", ""),
    (
        "mistake_zero_grad_forgotten",
        "    wrong = []\n    for _ in range(3):\n",
        "    wrong = []\n    for _ in range(3):\n"
        "        optimizer.zero_grad()\n",
    ),
    (
        "mistakes_with_layers_that_stop",
        "        layer(images)\n",
        "        layer(images.permute(0, 3, 1, 2))\n",
    ),
    (
        "mistakes_with_layers_that_stop",
        "count = sum(parameter.numel() for parameter in parameters)",
        "count = sum(parameter.numel() for parameter in layer.parameters())",
    ),
    (
        "mistake_a_kernel_by_hand_keeps_a_random_bias",
        "nn.Conv2d(1, 1, 3).to",
        "nn.Conv2d(1, 1, 3, bias=0).to",
    ),
    (
        "mistake_a_kernel_by_hand_keeps_a_random_bias",
        "3, bias=False).to",
        "3, bias=True).to",
    ),
    ("mistakes_with_half_precision_that_stop", "layer(x.half())", "layer(x)"),
    (
        "mistakes_with_half_precision_that_stop",
        "nn.Linear(2, 1).half()",
        "nn.Linear(2, 1).float(); x = x.float()",
        "RuntimeError",
    ),
    ("mistake_clipping_before_unscale", "    scaler.unscale_(optimizer)\n", ""),
    (
        "mistake_clipping_before_unscale",
        "    wrong = torch.linalg.vector_norm(1 - w.detach()).item()\n",
        "    wrong = float('nan')\n",
    ),
]
