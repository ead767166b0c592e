"""Claims of start_optimizer.py, each broken; the section must notice."""

BREAKINGS = [
    (
        "a_step_is_guess_error_derivatives_update",
        "        optimizer.step()  # 4. update\n",
        "",
    ),
    (
        "a_step_is_guess_error_derivatives_update",
        "        optimizer.zero_grad()  # the next step",
        "        # the next step",
    ),
    (
        "a_step_is_guess_error_derivatives_update",
        "F.mse_loss(guess, y)",
        "F.l1_loss(guess, y)",
    ),
    (
        "cross_entropy_is_minus_the_log_of_softmax",
        "exp.sum(dim=1, keepdim=True)",
        "exp.sum(dim=0, keepdim=True)",
    ),
    (
        "cross_entropy_is_minus_the_log_of_softmax",
        "F.cross_entropy(logits, labels)",
        "F.cross_entropy(logits.softmax(dim=1), labels)",
    ),
    (
        "binary_cross_entropy_with_logits_stays_finite",
        "F.binary_cross_entropy_with_logits(sure, yes)",
        "F.binary_cross_entropy(sure.sigmoid(), yes)",
    ),
    (
        "binary_cross_entropy_with_logits_stays_finite",
        "F.binary_cross_entropy_with_logits(logits, target)",
        "F.binary_cross_entropy_with_logits(logits.sigmoid(), target)",
    ),
    (
        "binary_cross_entropy_with_logits_stays_finite",
        "(pair.exp() / pair.exp().sum()).log()[0, 0]",
        "pair.log_softmax(dim=1)[0, 0]",
    ),
    (
        "zero_grad_clears_what_backward_adds",
        "        optimizer.zero_grad()  # first, or last: both are right\n",
        "",
    ),
    (
        "zero_grad_clears_what_backward_adds",
        (
            "        optimizer.zero_grad()  # too early: nothing is learnt\n"
            "        optimizer.step()\n"
        ),
        "        optimizer.step()\n        optimizer.zero_grad()\n",
    ),
    (
        "clip_grad_norm_shortens_and_keeps_direction",
        (
            "    norm = nn.utils.clip_grad_norm_([w, b], max_norm=1.0)\n"
            "    optimizer.step()\n"
        ),
        (
            "    optimizer.step()\n"
            "    norm = nn.utils.clip_grad_norm_([w, b], max_norm=1.0)\n"
        ),
    ),
    (
        "clip_grad_norm_shortens_and_keeps_direction",
        "clip_grad_norm_([w, b], max_norm=1.0)",
        "clip_grad_norm_([w], max_norm=1.0)",
    ),
    (
        "clip_grad_norm_shortens_and_keeps_direction",
        "max_norm=10.0",
        "max_norm=4.0",
    ),
    (
        "gradient_accumulation_equals_a_large_batch",
        "F.mse_loss(model(part_x), part_y) * len(part_x) / 10",
        "F.mse_loss(model(part_x), part_y) / 3",
    ),
    (
        "gradient_accumulation_equals_a_large_batch",
        "    optimizer.step()  # once, after the last part\n",
        "    optimizer.zero_grad()\n    optimizer.step()\n",
    ),
    (
        "gradient_accumulation_equals_a_large_batch",
        "        loss.backward()  # adds to the gradient\n",
        "        optimizer.zero_grad()\n        loss.backward()\n",
    ),
    (
        "gradient_accumulation_equals_a_large_batch",
        "norm(x)[:4], norm(x[:4])",
        "norm(x)[:4], norm(x)[:4]",
    ),
    (
        "a_learning_rate_converges_below_two_over_curvature",
        "        optimizer.step()\n",
        "",
    ),
    (
        "a_learning_rate_converges_below_two_over_curvature",
        "limit = descend_parabola(0.5, 10, device)",
        "limit = descend_parabola(0.49, 10, device)",
    ),
    (
        "a_learning_rate_converges_below_two_over_curvature",
        "large = descend_parabola(0.55, 10, device)",
        "large = descend_parabola(0.45, 10, device)",
    ),
    (
        "sgd_with_momentum_by_hand_equals_torch",
        "velocity = 0.8 * velocity + curvature * hand",
        "velocity = 0.8 * velocity + 0.2 * curvature * hand",
    ),
    (
        "sgd_with_momentum_by_hand_equals_torch",
        "torch.optim.SGD([w], lr=0.03, momentum=0.8)",
        "torch.optim.SGD([w], lr=0.03)",
    ),
    (
        "adam_by_hand_equals_torch",
        "whole_mean = mean / (1 - 0.9**step)",
        "whole_mean = mean",
    ),
    ("adam_by_hand_equals_torch", "optimizer.zero_grad()", "pass"),
    (
        "adam_by_hand_equals_torch",
        "whole_square = square / (1 - 0.999**step)",
        "whole_square = square / (1 - 0.99**step)",
    ),
    (
        "adamw_decays_weights_beside_the_gradient",
        "torch.optim.Adam([w], lr=0.1, weight_decay=0.5)",
        "torch.optim.AdamW([w], lr=0.1, weight_decay=0.5)",
    ),
    (
        "adamw_decays_weights_beside_the_gradient",
        "torch.optim.AdamW([w], lr=0.1, weight_decay=0.5)",
        "torch.optim.Adam([w], lr=0.1, weight_decay=0.5)",
    ),
    (
        "adamw_decays_weights_beside_the_gradient",
        "torch.optim.SGD([w], lr=0.1, weight_decay=0.5)",
        "torch.optim.SGD([w], lr=0.1)",
    ),
    (
        "adam_steps_ignore_the_size_of_gradients",
        "        optimizer.step()\n",
        "",
    ),
    (
        "adam_steps_ignore_the_size_of_gradients",
        "torch.optim.Adam, steps",
        "torch.optim.SGD, steps",
    ),
    (
        "adam_steps_ignore_the_size_of_gradients",
        "device, lr=0.05)",
        "device, lr=0.05, centered=True)",
    ),
    (
        "a_range_test_finds_the_learning_rate",
        "losses = losses.nan_to_num(torch.inf)",
        "losses[3] = torch.nan",
    ),
    ("a_range_test_finds_the_learning_rate", "lowest / 3", "lowest * 3"),
    ("a_range_test_finds_the_learning_rate", "        optimizer.step()\n", ""),
    (
        "a_range_test_finds_the_learning_rate",
        'optimizer.param_groups[0]["lr"] = lr',
        'optimizer.param_groups[0]["lr"] = 1e-3',
    ),
    (
        "a_range_test_finds_the_learning_rate",
        "torch.full((steps,), large)",
        "torch.full((steps,), torch.nan)",
    ),
    (
        "schedulers_count_calls_of_step",
        "        scheduler.step()  # after the batches of an epoch\n",
        "",
    ),
    (
        "schedulers_count_calls_of_step",
        "            scheduler.step()  # after each batch\n",
        "        scheduler.step()\n",
    ),
    (
        "lambda_lr_warms_up_then_falls_along_a_cosine",
        "return (step + 1) / warmup",
        "return 1.0",
    ),
    (
        "lambda_lr_warms_up_then_falls_along_a_cosine",
        "return (1 + math.cos(math.pi * done)) / 2",
        "return 1 - done",
    ),
    (
        "parameter_groups_spare_biases_weight_decay",
        "parameter.ndim >= 2",
        "parameter.ndim >= 1",
    ),
    (
        "parameter_groups_spare_biases_weight_decay",
        '"weight_decay": 0.0, "lr": 0.02',
        '"lr": 0.02, "weight_decay": 0.5',
    ),
    ("parameter_groups_spare_biases_weight_decay", ', "lr": 0.02}', "}"),
    (
        "muon_by_hand_equals_torch",
        "update = orthogonalize(0.1 * gradient + 0.9 * mean)",
        "update = 0.1 * gradient + 0.9 * mean",
    ),
    (
        "muon_by_hand_equals_torch",
        "torch.optim.Muon(layer.parameters())",
        "torch.optim.AdamW(layer.parameters())",
    ),
    ("muon_by_hand_equals_torch", "weight_decay=0.5)", "weight_decay=0.0)"),
    (
        "train_fits_validation_chooses_test_reports",
        "middle = fit_at_rate(0.01, train)",
        "middle = fit_at_rate(0.0001, train)",
    ),
    (
        "train_fits_validation_chooses_test_reports",
        "measure(slow, *validation)",
        "measure(middle, *validation)",
    ),
    (
        "train_fits_validation_chooses_test_reports",
        "measure(middle, *test)",
        "measure(middle, *train)",
    ),
    (
        "train_fits_validation_chooses_test_reports",
        "measure(middle, *test)",
        "measure(fast, *test)",
    ),
    (
        "train_fits_validation_chooses_test_reports",
        "        train_one_epoch(model, optimizer, *train)\n",
        "        pass\n",
    ),
    (
        "batch_means_are_weighted_by_batch_size",
        "total += mean * len(batch)",
        "total += mean",
    ),
    (
        "batch_means_are_weighted_by_batch_size",
        "losses.split(4)",
        "losses.split(5)",
    ),
    (
        "class_weights_find_more_of_a_rare_class",
        ", weight=weight)\n        ",
        ")\n        ",
    ),
    (
        "class_weights_find_more_of_a_rare_class",
        "2000 / labels.bincount()",
        "labels.bincount() / 2000",
    ),
    (
        "class_weights_find_more_of_a_rare_class",
        "/ weight[labels].sum()",
        "/ len(labels)",
    ),
    (
        "class_weights_find_more_of_a_rare_class",
        "recall = (weighted[labels == 1] == 1)",
        "recall = (labels[weighted == 1] == 1)",
    ),
    ("no_grad_records_nothing_and_keeps_the_mode", "    model.eval()\n", ""),
    (
        "no_grad_records_nothing_and_keeps_the_mode",
        "    model.train()  # before the next epoch\n",
        "",
    ),
    (
        "no_grad_records_nothing_and_keeps_the_mode",
        (
            "    with torch.no_grad():\n"
            "        y = model(x)\n"
            "    zeros = (y == 0).float().mean().item()\n"
            '    print(f"no_grad'
        ),
        (
            "    with torch.enable_grad():\n"
            "        y = model(x)\n"
            "    zeros = (y == 0).float().mean().item()\n"
            '    print(f"no_grad'
        ),
    ),
    (
        "a_split_by_family_of_fonts_shows_the_gap",
        "distance.argmin(dim=1)",
        "distance.argmax(dim=1)",
    ),
    (
        "a_split_by_family_of_fonts_shows_the_gap",
        "images[:share].flatten(1)",
        "images[-share:].flatten(1)",
    ),
    (
        "a_split_by_family_of_fonts_shows_the_gap",
        "nearest_neighbour_accuracy(others, asked, count)",
        "nearest_neighbour_accuracy(every, asked, count)",
    ),
    (
        "a_split_by_family_of_fonts_shows_the_gap",
        "if family is not asked",
        "if family is asked",
    ),
    (
        "training_loss_is_measured_under_other_conditions",
        "augmented, _ = measure(model, moved, labels)",
        "augmented = after",
    ),
    (
        "training_loss_is_measured_under_other_conditions",
        "    moved = random_affine(images)\n",
        "    moved = images\n",
    ),
    (
        "training_loss_is_measured_under_other_conditions",
        "loss.item() * len(batch)",
        "loss.item()",
    ),
    (
        "training_loss_is_measured_under_other_conditions",
        "        optimizer.step()\n",
        "",
    ),
    (
        "overfitting_shows_in_the_validation_loss",
        "        loss, _ = measure(model, *validation)\n",
        "",
    ),
    (
        "overfitting_shows_in_the_validation_loss",
        "        train_one_epoch(model, optimizer, *train)\n",
        "",
    ),
    (
        "overfitting_shows_in_the_validation_loss",
        "training_losses.append(loss)",
        "training_losses.append(math.nan)",
    ),
    (
        "overfitting_shows_in_the_validation_loss",
        "validation_losses.append(loss)",
        "validation_losses.append(math.nan)",
    ),
    (
        "augmentation_dropout_weight_decay_reduce_overfitting",
        "decayed = fit_few(train, weight_decay=2.0)",
        "decayed = fit_few(train)",
    ),
    (
        "augmentation_dropout_weight_decay_reduce_overfitting",
        "dropped = fit_few(train, dropout=0.5)",
        "dropped = fit_few(train)",
    ),
    (
        "augmentation_dropout_weight_decay_reduce_overfitting",
        "measure(plain, *validation)",
        "(math.nan, 0)",
    ),
    (
        "augmentation_dropout_weight_decay_reduce_overfitting",
        "augmented = fit_few(train, augment=random_affine)",
        "augmented = fit_few(train)",
    ),
    (
        "early_stopping_keeps_the_best_epoch",
        "copy.deepcopy(model.state_dict())",
        "model.state_dict()",
    ),
    (
        "early_stopping_keeps_the_best_epoch",
        "    model.load_state_dict(best_weights)\n",
        "",
    ),
    (
        "early_stopping_keeps_the_best_epoch",
        "loss == min(losses)",
        "loss == losses[-1]",
    ),
    (
        "early_stopping_keeps_the_best_epoch",
        "epoch - best_epoch == patience",
        "epoch - best_epoch == patience + 1",
    ),
    (
        "early_stopping_keeps_the_best_epoch",
        "no_copy = model.state_dict()",
        "no_copy = copy.deepcopy(best_weights)",
    ),
    ("seeds_are_error_bars", "torch.manual_seed(seed)", "torch.manual_seed(0)"),
    ("seeds_are_error_bars", "narrow.std() / math.sqrt(5)", "narrow.std()"),
    (
        "seeds_are_error_bars",
        "        train_one_epoch(model, optimizer, *train)\n",
        "        pass\n",
    ),
    ("seeds_are_error_bars", "seed, 36, 5)", "seed, 36, 1)"),
    (
        "inside_a_step_each_layer_is_measured",
        "layers[1].bias[:10] = -100",
        "layers[1].bias[:10] = 1",
    ),
    ("inside_a_step_each_layer_is_measured", "    optimizer.step()\n", ""),
    (
        "inside_a_step_each_layer_is_measured",
        "(x == 0).all(dim=0)",
        "(x == 0).any(dim=0)",
    ),
    (
        "inside_a_step_each_layer_is_measured",
        "/ old.norm()).item()",
        ").item()",
    ),
    (
        "the_first_loss_is_log_of_the_classes",
        "255 * images",
        "images",
    ),
    (
        "the_first_loss_is_log_of_the_classes",
        "sound, _ = measure(model, images, labels)",
        "sound, _ = measure(model, 255 * images, labels)",
    ),
    (
        "the_first_loss_is_log_of_the_classes",
        "(32, 100)",
        "(32, 10)",
    ),
    ("one_batch_is_learnt_by_heart", "        optimizer.step()\n", ""),
    (
        "one_batch_is_learnt_by_heart",
        ".append(nn.Softmax(dim=1))",
        "",
    ),
    (
        "one_batch_is_learnt_by_heart",
        "labels[torch.randperm(len(labels)).to(labels.device)]",
        "labels",
    ),
    ("one_batch_is_learnt_by_heart", "        optimizer.zero_grad()\n", ""),
    (
        "look_at_a_batch_as_the_model_gets_it",
        "moved = labels[order]",
        "moved = labels",
    ),
    (
        "look_at_a_batch_as_the_model_gets_it",
        "twice = images / 255",
        "twice = images",
    ),
    (
        "look_at_a_batch_as_the_model_gets_it",
        "sound = pairs_that_fit(images, labels)",
        "sound = pairs_that_fit(images, moved)",
    ),
    ("gradient_norms_by_layer_find_the_cut", ".relu().detach()", ".relu()"),
    (
        "gradient_norms_by_layer_find_the_cut",
        "first_to_last(nn.Sigmoid(), ",
        "first_to_last(nn.ReLU(), ",
    ),
    (
        "gradient_norms_by_layer_find_the_cut",
        "first_to_last(nn.ReLU(), ",
        "first_to_last(nn.Sigmoid(), ",
    ),
    (
        "the_rate_is_tried_in_factors_of_ten",
        "losses.index(min(losses))",
        "losses.index(max(losses))",
    ),
    ("the_rate_is_tried_in_factors_of_ten", "range(20)", "range(1)"),
    ("the_rate_is_tried_in_factors_of_ten", "lr=lr, fused", "lr=0.01, fused"),
    (
        "the_rate_is_tried_in_factors_of_ten",
        "            optimizer.step()\n",
        "",
    ),
    (
        "a_softmax_before_cross_entropy_keeps_the_loss_up",
        "logits.softmax(dim=1)",
        "logits.softmax(dim=0)",
    ),
    (
        "a_softmax_before_cross_entropy_keeps_the_loss_up",
        "fault = F.cross_entropy(twice, labels)",
        "fault = F.cross_entropy(logits, labels)",
    ),
    (
        "the_same_answer_for_every_input_is_found_by_std",
        "model[1].bias.fill_(-100)",
        "model[1].bias.fill_(0)",
    ),
    (
        "the_same_answer_for_every_input_is_found_by_std",
        "model(shifted).std(dim=0)",
        "model(images).std(dim=0)",
    ),
    (
        "the_same_answer_for_every_input_is_found_by_std",
        "model[1].bias.fill_(-100)",
        "model[1].bias.fill_(100)",
    ),
    (
        "the_same_answer_for_every_input_is_found_by_std",
        "scaled = model(shifted)",
        "scaled = model(images)",
    ),
    (
        "good_in_train_and_bad_in_eval_is_batch_norm",
        "fit_with_norm(0.001, ",
        "fit_with_norm(0.1, ",
    ),
    (
        "good_in_train_and_bad_in_eval_is_batch_norm",
        "    model[3].reset_running_stats()\n",
        "",
    ),
    (
        "good_in_train_and_bad_in_eval_is_batch_norm",
        "    model[3].momentum = None\n",
        "",
    ),
    ("good_in_train_and_bad_in_eval_is_batch_norm", "    model.train()\n", ""),
    (
        "good_in_train_and_bad_in_eval_is_batch_norm",
        "in_eval, _ = measure(model, images, labels)",
        "in_eval = in_train",
    ),
    (
        "autocast_keeps_half_the_activations",
        "enabled=mixed",
        "enabled=not mixed",
    ),
    ("autocast_keeps_half_the_activations", "enabled=mixed", "enabled=False"),
    (
        "autocast_keeps_half_the_activations",
        "sizes[tensor.data_ptr()] = tensor.nbytes",
        "sizes[len(sizes)] = tensor.nbytes",
    ),
    ("autocast_keeps_half_the_activations", "    with hooks:\n", "    if 1:\n"),
    (
        "autocast_trains_to_the_same_loss",
        "        scaler.step(optimizer)\n",
        "",
    ),
    (
        "autocast_trains_to_the_same_loss",
        "mixed = dtype != torch.float32",
        "mixed = False",
    ),
    (
        "autocast_trains_to_the_same_loss",
        "return mean, 1000",
        "return math.nan, 1000",
    ),
    (
        "autocast_trains_to_the_same_loss",
        "labels[batch])",
        "labels[batch.flip(0)])",
    ),
    (
        "set_num_threads_is_measured_not_guessed",
        "    torch.set_num_threads(2)\n",
        "",
    ),
    (
        "set_num_threads_is_measured_not_guessed",
        "    torch.set_num_threads(before)\n",
        "    torch.set_num_threads(before + 1)\n",
    ),
    (
        "set_num_threads_is_measured_not_guessed",
        "return 1000 * (time.perf_counter() - start)",
        "return math.nan",
    ),
    (
        "adamw_takes_16_bytes_a_parameter",
        "AdamW(model.parameters())",
        "AdamW(model.parameters(), amsgrad=True)",
    ),
    (
        "adamw_takes_16_bytes_a_parameter",
        "w.nbytes + w.grad.nbytes",
        "w.nbytes",
    ),
    (
        "adamw_takes_16_bytes_a_parameter",
        "nn.Linear(20, 30).to(device)",
        "nn.Linear(20, 30).to(device).bfloat16()",
        "RuntimeError",
    ),
    (
        "adamw_takes_16_bytes_a_parameter",
        (
            '    with torch.device("meta"):\n'
            "        large = nn.Linear(40_000, 25_000)"
        ),
        "    large = nn.Linear(400, 250)",
    ),
    (
        "flop_counter_mode_counts_the_operations_of_a_step",
        "        loss = model(x).sum()\n",
        "        loss = model(model[:1](x)[:, :64]).sum()\n",
    ),
    (
        "flop_counter_mode_counts_the_operations_of_a_step",
        "torch.rand(32, 64, device=device)",
        "torch.rand(32, 64, device=device, requires_grad=True)",
    ),
    (
        "flop_counter_mode_counts_the_operations_of_a_step",
        "ratio = total / 32",
        "ratio = total / 64",
    ),
    (
        "torch_compile_compiles_again_for_a_new_size",
        "backend=counter, dynamic=False",
        "backend=counter",
    ),
    (
        "torch_compile_compiles_again_for_a_new_size",
        "backend=counter)\n    assert",
        "backend=counter, dynamic=True)\n    assert",
    ),
    ("torch_compile_compiles_again_for_a_new_size", "(2 * x).relu()", "2 * x"),
    (
        "a_branch_on_data_breaks_the_graph",
        "    if x.sum() > 0:\n",
        "    if len(x) > 0:\n",
    ),
    (
        "a_branch_on_data_breaks_the_graph",
        "return torch.where(x.sum() > 0, y + 1, y - 1)",
        "return torch.where(x.sum() > 0, y - 1, y + 1)",
    ),
    (
        "a_branch_on_data_breaks_the_graph",
        'branch_on_data, backend="eager", fullgraph=True',
        'branch_on_data, backend="eager"',
    ),
    (
        "model_compile_keeps_results_and_names",
        "        result = model(x)\n",
        "        result = model(x) * float('nan')\n",
    ),
    (
        "model_compile_keeps_results_and_names",
        'wrapped = torch.compile(model, backend="eager")',
        "wrapped = model",
    ),
    (
        "a_checkpoint_resumes_bit_for_bit",
        'torch.set_rng_state(state["random"])',
        "pass",
    ),
    (
        "a_checkpoint_resumes_bit_for_bit",
        '        optimizer.load_state_dict(state["optimizer"])\n',
        "        pass\n",
    ),
    ("a_checkpoint_resumes_bit_for_bit", '"epoch": 2,', '"epoch": 1,'),
    ("a_checkpoint_resumes_bit_for_bit", "nn.Dropout(0.5)", "nn.Identity()"),
    (
        "a_checkpoint_resumes_bit_for_bit",
        "        scheduler.step()\n",
        "",
    ),
    (
        "a_checkpoint_resumes_bit_for_bit",
        "resume(path, leave_out=part)",
        "resume(path)",
    ),
    (
        "a_checkpoint_resumes_bit_for_bit",
        "straight = model[0].weight.detach()",
        "straight = model[0].weight.detach() * math.nan",
    ),
    (
        "processes_average_their_gradients",
        "w.grad /= count",
        "w.grad /= count + 1",
    ),
    (
        "processes_average_their_gradients",
        "        optimizer.zero_grad()\n",
        (
            "        optimizer.zero_grad()\n"
            "        x = x + torch.rand(64, 8) * rank\n"
            "        x = x + count * (how == 'DDP')\n"
        ),
    ),
    (
        "mistakes_give_an_optimizer_no_weights",
        "weights = model.parameters()",
        "weights = list(model.parameters())",
    ),
    (
        "mistakes_give_an_optimizer_no_weights",
        "torch.optim.SGD([0.1 * w], lr=0.1)",
        "torch.optim.SGD([w], lr=0.1)",
    ),
    ("mistakes_give_an_optimizer_no_weights", "    optimizer.step()\n", ""),
    (
        "mistakes_call_a_scheduler",
        "        scheduler.step()\n    optimizer.step()",
        (
            "        optimizer.step()\n"
            "        scheduler.step()\n"
            "    optimizer.step()"
        ),
    ),
    ("mistakes_call_a_scheduler", "patience=0", "patience=1"),
    ("mistakes_call_a_scheduler", "scheduler.step(0.8)", "scheduler.step(0.6)"),
    (
        "mistakes_save_or_load_a_model",
        "torch.save(trained, path)",
        "torch.save(trained.state_dict(), path)",
    ),
    (
        "mistakes_save_or_load_a_model",
        "model.load_state_dict(state)(x)",
        "model.load_state_dict(dict(state))",
    ),
    (
        "mistakes_save_or_load_a_model",
        "    model(x)  # right: the model",
        "    nn.init.ones_(model.weight)  # right: the model",
    ),
    (
        "mistake_clip_grad_norm_after_the_step",
        (
            "    optimizer.step()\n"
            "    nn.utils.clip_grad_norm_([w], max_norm=1.0)\n"
        ),
        (
            "    nn.utils.clip_grad_norm_([w], max_norm=1.0)\n"
            "    optimizer.step()\n"
        ),
    ),
    (
        "mistake_clip_grad_norm_after_the_step",
        (
            "    nn.utils.clip_grad_norm_([w], max_norm=1.0)\n"
            "    optimizer.step()\n"
        ),
        (
            "    optimizer.step()\n"
            "    nn.utils.clip_grad_norm_([w], max_norm=1.0)\n"
        ),
    ),
    (
        "mistake_accuracy_of_a_column",
        "right = (guesses == labels).sum()",
        "right = (guesses.squeeze(1) == labels).sum()",
    ),
    (
        "mistake_accuracy_of_a_column",
        "right = (guesses.squeeze(1) == labels).sum()",
        "right = (guesses == labels).sum()",
    ),
    (
        "mistake_argmax_over_the_batch",
        "wrong = logits.argmax(dim=0)",
        "wrong = logits.argmax(dim=1)",
    ),
    (
        "mistake_argmax_over_the_batch",
        "guesses = logits.argmax(dim=1)",
        "guesses = logits.argmin(dim=1)",
    ),
    (
        "mistake_an_optimizer_made_before_the_new_head",
        "    model[1] = nn.Linear(3, 2)  # a new head, for two classes\n",
        "",
    ),
    (
        "mistake_an_optimizer_made_before_the_new_head",
        "    model.zero_grad()  #",
        "    #",
    ),
    (
        "train_stops_early_and_keeps_the_best_epoch",
        "            scaler.step(optimizer)\n",
        "",
    ),
    (
        "train_stops_early_and_keeps_the_best_epoch",
        "targets = labels[batch]",
        "targets = labels[batch.flip(0)]",
    ),
    (
        "train_stops_early_and_keeps_the_best_epoch",
        'if validation_loss < best["loss"]:',
        "if epoch == 1:",
    ),
    (
        "train_stops_early_and_keeps_the_best_epoch",
        'if validation_loss < best["loss"]:',
        "if True:",
    ),
    (
        "train_stops_early_and_keeps_the_best_epoch",
        "copy.deepcopy(bare.state_dict())",
        "bare.state_dict()",
    ),
    (
        "train_stops_early_and_keeps_the_best_epoch",
        '    bare.load_state_dict(best["weights"])\n',
        "",
    ),
    (
        "train_stops_early_and_keeps_the_best_epoch",
        "        model.train()\n",
        "",
    ),
    ("train_stops_early_and_keeps_the_best_epoch", "    model.eval()\n", ""),
    (
        "train_stops_early_and_keeps_the_best_epoch",
        "            break  # early stopping\n",
        "            pass\n",
    ),
    (
        "train_stops_early_and_keeps_the_best_epoch",
        ("validation_loss, accuracy, _ = evaluate(model, *validation, half)"),
        "validation_loss, accuracy = loss, 0.9",
    ),
    ("train_stops_early_and_keeps_the_best_epoch", "patience=2", "patience=3"),
    (
        "train_stops_early_and_keeps_the_best_epoch",
        "            optimizer.zero_grad()\n",
        "",
    ),
    (
        "an_image_folder_is_split_within_each_class",
        "(folder, size=16)",
        "(folder, size=15)",
    ),
    (
        "an_image_folder_is_split_within_each_class",
        'f"grass/{number}.png", (0.2, 0.9, 0.2)',
        'f"grass/{number}.png", (0.9, 0.2, 0.2)',
    ),
    (
        "an_image_folder_is_split_within_each_class",
        "(25, 0, 65, 15)",
        "(0, 0, 25, 15)",
    ),
    (
        "an_image_folder_is_split_within_each_class",
        'data["test"][0]]',
        'data["validation"][0]]',
    ),
    (
        "os_replace_keeps_the_last_good_checkpoint",
        'partial = path.with_name(path.name + ".partial")',
        "partial = path",
        "FileNotFoundError",
    ),
    (
        "os_replace_keeps_the_last_good_checkpoint",
        "        os.replace(partial, path)  #",
        "        #",
        "FileNotFoundError",
    ),
    (
        "os_replace_keeps_the_last_good_checkpoint",
        "            torch.save(new, path)\n",
        "            save_whole(new, path)\n",
    ),
    (
        "os_replace_keeps_the_last_good_checkpoint",
        "        partial.unlink(missing_ok=True)  #",
        "        pass  #",
    ),
    (
        "a_checkpoint_predicts_the_class_of_new_images",
        "        labels,\n",
        "        labels * 0,\n",
    ),
    (
        "a_checkpoint_predicts_the_class_of_new_images",
        '"classes": classes',
        '"classes": classes[::-1]',
    ),
    (
        "a_checkpoint_predicts_the_class_of_new_images",
        'about["size"] = 16',
        'about["size"] = 24',
        "SystemExit",
    ),
    (
        "a_checkpoint_predicts_the_class_of_new_images",
        '        optimizer.load_state_dict(saved["optimizer"])\n',
        "",
    ),
    (
        "a_checkpoint_predicts_the_class_of_new_images",
        '        scheduler.load_state_dict(saved["schedule"])\n',
        "",
    ),
    (
        "a_checkpoint_predicts_the_class_of_new_images",
        '        model.load_state_dict(saved["last"])\n',
        "",
    ),
    (
        "a_checkpoint_predicts_the_class_of_new_images",
        'return saved["history"], saved["best"]',
        'return [], saved["best"]',
        "ValueError",
    ),
    (
        "a_checkpoint_predicts_the_class_of_new_images",
        "        save_whole(state, path)",
        "        pass",
        "SystemExit",
    ),
    (
        "train_validate_test",
        'images, labels = data["test"]',
        'images, labels = data["validation"]',
    ),
    (
        "train_validate_test",
        'images, labels = data["test"]',
        'images, labels = data["train"]',
    ),
    (
        "train_validate_test",
        "optimizer_class(model.parameters(), **options)",
        "optimizer_class([torch.zeros(1, requires_grad=True)], **options)",
    ),
]
