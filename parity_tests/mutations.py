"""The changes that `mutants.py` tries: of seam and head here, of families in their papers."""

from layer_mutations import LAYERS
from papers import Mutant, paper

from marginface.losses.families import FAMILIES

HEADS = [
    # the angle, its slope, what happens past pi
    Mutant("losses.angular", "arcface", "angle(c) + shift", "angle(c) - shift"),
    Mutant(
        "losses.angular",
        "arcface",
        "fall * m1 * inverse_sine(c), -fall",
        "-fall * m1 * inverse_sine(c), -fall",
    ),
    Mutant("losses.angular", "combined_margin", "fall * m1 * inverse", "fall * inverse"),
    Mutant("losses.angular", "arcface", "fall * m1 * inverse_sine(c), -fall", "fall * m1, -fall"),
    Mutant("losses.angular", "magface", "inverse_sine(c), -fall", "inverse_sine(c), fall"),
    Mutant("losses.angular", "arcface", "turned > math.pi", "turned > 2 * math.pi"),
    Mutant(
        "losses.angular",
        "arcface",
        ("c - shift * torch.sin(shift)", "c - shift * tf.sin(shift)"),
        ("c - shift", "c - shift"),
    ),
    Mutant(
        "losses.angular",
        "magface",
        ("-torch.sin(shift) - shift", "-tf.sin(shift) - shift"),
        ("-torch.sin(shift) + shift", "-tf.sin(shift) + shift"),
    ),
    Mutant("losses.angular", "combined_margin", "sign * value - 2 * turns", "sign * value"),
    Mutant("losses.angular", "combined_margin", "1 - 2 * (turns % 2)", "1 + 0 * turns"),
    Mutant("losses.angular", "arcface", '== "mirror" or (', '== "mirrored" or ('),
    Mutant(
        "losses.angular",
        "arcface",
        ("torch.where(past, 1, slope)", "tf.where(past, ones, slope)"),
        ("slope", "slope"),
    ),
    Mutant(
        "losses.angular",
        "arcface",
        ("torch.where(c > 0, value, c)", "tf.where(c > 0, value, c)"),
        ("torch.where(c > 0.1, value, c)", "tf.where(c > 0.1, value, c)"),
    ),
    Mutant("losses.angular", "arcface", '== "straight_through"', '== "straight"'),
    # the seam itself
    Mutant("losses.base", "arcface", ("c.add_(1)", "(1 + c)"), ("c.add_(0)", "(1 - c)")),
    Mutant(
        "losses.base",
        "li_arcface",
        "MIN_SINE**2",
        "(10 * MIN_SINE) ** 2",
    ),
    # what losses share that keep latest embeddings
    Mutant("losses.latest", "vpl", 'state["step"] + 1}', 'state["step"]}'),
    Mutant("losses.latest", "vpl", "samples.embedding,", "samples.embedding * 0.9,"),
    # what is kept for each class
    Mutant(
        "heads.memory",
        "vpl",
        (
            "torch.searchsorted(ordered, ordered, right=True) - 1",
            'tf.searchsorted(ordered, ordered, side="right") - 1',
        ),
        ("torch.searchsorted(ordered, ordered)", "tf.searchsorted(ordered, ordered)"),
    ),
    Mutant(
        "heads.memory",
        "vpl",
        ("addcmul_(w, along[:, None])", "+ w * along[:, None]"),
        ("addcmul_(w, along[:, None], value=-1)", "- w * along[:, None]"),
    ),
    Mutant("heads.memory", "vpl", "(1 - share)", "(1 + 0 * share)"),
    Mutant(
        "heads.memory",
        "vpl",
        ("len(self._waiting) < self._calls", "self._waiting_calls >= self._calls"),
        ("len(self._waiting) < 0", "self._waiting_calls >= 0"),
    ),
    # a companion
    Mutant(
        "heads.companion",
        "uss",
        ("paired > 0, logits", "paired > 0, logits"),
        ("paired > -1, logits", "paired > -1, logits"),
    ),
    Mutant(
        "heads.companion",
        "uss",
        ("share[inputs.sampled]).log()", "tf.math.log(share)"),
        ("share[inputs.sampled]) * 0", "share * 0"),
    ),
    Mutant(
        "heads.companion",
        "uss",
        ("log_weights + inputs.log_weights", "tf.cast(inputs.log_weights, share.dtype)"),
        ("log_weights", "0.0"),
    ),
    # learned margins
    Mutant(
        "heads.margins",
        "adaptiveface",
        ("ctx.shares * d_mean", "weights / sums[1] * d_mean"),
        ("ctx.shares * 0 * d_mean", "weights / sums[1] * 0 * d_mean"),
    ),
    Mutant(
        "heads.margins",
        "adaptiveface",
        ("inputs.log_weights.to(dtype).exp()", "tf.exp(tf.cast(inputs.log_weights, dtype))"),
        ("torch.ones_like(of_pass)", "1.0"),
    ),
    Mutant(
        "heads.head",
        "adaptiveface",
        ("bias.data.clamp_(0, 1)", "tf.clip_by_value(self.bias, 0, 1)"),
        ("bias.data.clamp_(-9, 9)", "tf.clip_by_value(self.bias, -9, 9)"),
    ),
    # the pass over the classes
    Mutant("heads.blocks", "arcface", "<= MIN_NORM", "<= 1e-5"),
    Mutant(
        "heads.blocks",
        "arcface",
        ("d_logits.mul_(d_others[:, None])", " * d_terms.others[:, None]"),
        ("d_logits", ""),
    ),
    Mutant(
        ("heads.passes", "heads.blocks"),
        "arcface",
        ("value=-1", "d_weight -= w"),
        ("value=1", "d_weight += w"),
    ),
    Mutant(
        ("heads.passes", "heads.blocks"),
        "arcface",
        ("block_inverse_norms**2", "inverse_norms**2"),
        ("block_inverse_norms", "inverse_norms"),
    ),
    Mutant(
        "heads.passes",
        "arcface",
        ("sums.top + sums.total.log()", "top + tf.math.log(total)"),
        ("sums.total.log()", "tf.math.log(total)"),
    ),
    Mutant(
        "heads.blocks",
        "arcface",
        ("total * (top - highest).exp_()", "total * tf.exp(top - highest)"),
        "total",
    ),
    Mutant(
        "heads.blocks",
        "arcface",
        ("values[self.samples, self.columns] = value", "left_out, logits.dtype.min"),
        ("pass", "left_out & False, logits.dtype.min"),
    ),
    Mutant(
        "heads.blocks",
        "uniface",
        (
            "d_logits.mul_(block.unclamped)",
            "tf.where(self.unclamped, shares, tf.zeros_like(shares))",
        ),
        ("d_logits", "shares"),
    ),
    Mutant(
        ("heads.passes", "heads.blocks"),
        "softmax",
        (
            "d_block_bias.index_add_(0, block.columns,",
            "masks.target, d_terms.bias[:, None], d_logits",
        ),
        ("d_block_bias.index_add_(0, block.columns * 0,", "masks.target, d_logits, d_logits"),
    ),
    Mutant(
        "heads.blocks",
        "sphereface",
        (
            "(d_logits * self.negatives.detach()).sum(1)",
            "tf.reduce_sum(d_logits * self.negatives, 1)",
        ),
        (
            "2 * (d_logits * self.negatives.detach()).sum(1)",
            "2 * tf.reduce_sum(d_logits * self.negatives, 1)",
        ),
    ),
    Mutant(
        "heads.passes",
        "arcface",
        ("products = kept_products[k]", "kept_products.read(k) if keep else"),
        ("products = kept_products[0]", "kept_products.read(tf.constant(0)) if keep else"),
    ),
    Mutant(
        "heads.head",
        "uniface",
        ("else logits.clamp(-limit, limit)", "else tf.clip_by_value(logits, -limit, limit)"),
        "else logits",
    ),
    # the head
    Mutant(
        "heads.blocks",
        "subcenter_arcface",
        (".amax(2)", "tf.reduce_max(tf.reshape(best, centers), 2)"),
        (".mean(2)", "tf.reduce_mean(tf.reshape(best, centers), 2)"),
    ),
    Mutant("heads.head", "sphereface", ("logits * norms", "logits *= norms"), ("logits", "pass")),
    Mutant("heads.head", "magface", " + self._ops.penalty(norms)", ""),
    Mutant(
        "heads.head",
        "arcface",
        "values * radius",
        "values",
    ),
    Mutant(
        "heads.head",
        "sphereface2",
        ("logits + bias", "logits += bias"),
        ("logits", "pass"),
    ),
    # steps in the backward pass, and samples of classes
    Mutant(
        "heads.row_step",
        "steps_as_the_optimizer",
        ("mul_(spec.momentum)", 'spec.momentum * slots["momentum"]'),
        ("mul_(1.0)", 'slots["momentum"]'),
    ),
    Mutant(
        "heads.row_step",
        "steps_as_the_optimizer",
        ("add_(value, alpha=decay)", "+ decay * value"),
        ("add_(value, alpha=0)", ""),
    ),
    Mutant(
        "heads.row_step",
        "steps_as_the_optimizer",
        ("sub_(velocity, alpha=rate)", "value - rate * velocity"),
        ("add_(velocity, alpha=rate)", "value + rate * velocity"),
    ),
    Mutant(
        "heads.stepping",
        "head_of_its_classes",
        ("_write(each, rows, slots[slot]", "for slot, each in slots.items()]\n        return"),
        ("_write(each, rows, each[rows]", "for slot, each in {}.items()]\n        return"),
    ),
    Mutant(
        "heads.row_step",
        "head_adamw",
        ("mul_(spec.beta1)", 'spec.beta1 * slots["first"]'),
        ("mul_(spec.beta2)", 'spec.beta2 * slots["first"]'),
    ),
    Mutant(
        "heads.row_step",
        "head_adamw",
        ("addcmul_(gradient, gradient, value=1 - spec.beta2)", "(1 - spec.beta2) * gradient**2"),
        ("addcmul_(gradient, gradient, value=1 - spec.beta1)", "(1 - spec.beta1) * gradient**2"),
    ),
    Mutant(
        "heads.row_step",
        "head_adamw",
        ("second / _correction(spec.beta2, count, gradient)", "/ _correction(spec.beta2, count"),
        ("second / _correction(spec.beta1, count, gradient)", "/ _correction(spec.beta1, count"),
    ),
    Mutant(
        "heads.row_step",
        "head_adamw",
        (".mul_(_correction(spec.beta1, count, gradient))", "*= _correction(spec.beta1, count"),
        (".mul_(1.0)", "*= _correction(spec.beta2, count"),
    ),
    Mutant(
        "heads.row_step",
        "head_adamw",
        (".add_(spec.epsilon)", " + spec.epsilon"),
        ("", ""),
    ),
    Mutant("heads.row_step", "head_adamw", "(1 - rate * decay)", "(1 - decay)"),
    Mutant(
        "heads.stepping",
        "head_adamw",
        ("at_random=slot == AT_RANDOM", "if AT_RANDOM in slots:"),
        ("at_random=False", "if False:"),
    ),
    Mutant(
        "heads.row_step",
        "head_adamw",
        ("count.add_(1)", "slots[COUNT] + 1"),
        ("count.fill_(1)", "slots[COUNT] * 0 + 1"),
    ),
    Mutant(
        ("heads.blocks", "heads.stepping"),
        "steps_as_the_optimizer",
        ("start + plan.block, plan.classes", "stepped = tf.minimum(block.repeated, stop), stop"),
        ("start + plan.block - 1, plan.classes", "stepped = tf.constant(0), stop"),
    ),
    Mutant(
        "heads.blocks",
        "correction",
        ("logits + log_weights", "logits += log_weights"),
        ("logits", "pass"),
    ),
    Mutant(
        "heads.blocks",
        "correction",
        ("terms * log_weights.exp()", "terms *= tf.exp(log_weights)"),
        ("terms", "pass"),
    ),
    Mutant(
        "heads.blocks",
        "corrected",
        ("d_logits.add_(log_weights)", "shift -= self.log_weights"),
        ("d_logits", "pass"),
    ),
    Mutant(
        "heads.blocks",
        "corrected",
        ("d_logits *= log_weights.exp()", "shares *= tf.exp(self.log_weights)"),
        ("pass", "pass"),
    ),
    Mutant(
        "heads.blocks",
        "head_of_its_classes",
        "classes[:, None] * centers",
        "classes[:, None] * 0",
    ),
    Mutant(
        ("heads.blocks", "heads.stepping"),
        "head_of_its_classes",
        ("else sampled[places]", "else tf.gather(self.sampled, places)"),
        "else places",
    ),
    Mutant(
        ("heads.stepping", "heads.passes"),
        "head_updates",
        ("raise MarginfaceError(ONCE) from error", "with tf.control_dependencies(writes):"),
        ("raise", "with tf.control_dependencies([]):"),
    ),
    Mutant(
        ("heads.head", "heads.stepping"),
        "head_updates",
        ("dict(self.named_parameters())", "now, self.steps_before, ONCE"),
        ("{n: v.data for n, v in self.named_parameters()}", "now, now, ONCE"),
    ),
    Mutant(
        "heads.stepping",
        "head_updates",
        ("ctx.save_for_backward(*update.values.values())", "int(now) != int(self.steps_before)"),
        ("pass", "False"),
    ),
    # embeddings that need no gradient, and scaled losses
    Mutant(
        "heads.classes",
        "head_frozen",
        (
            "anchor = embeddings.new_zeros((), requires_grad=True)",
            'sources["anchor"] = parameters.anchor',
        ),
        ("anchor = None", "pass"),
    ),
    Mutant(
        ("heads.head", "heads.passes"),
        "head_frozen",
        ("requires_grad and self.update is None", "with tf.control_dependencies(writes):"),
        ("requires_grad", "with tf.control_dependencies([]):"),
    ),
    Mutant(
        ("heads.head", "heads.stepping"),
        "head_frozen",
        ("x = x.clone()", "if self.update.learning:\n            block"),
        ("pass", "if True:\n            block"),
    ),
    Mutant(
        "heads.stepping",
        "head_scaling",
        ("gradient / self.settings.loss_scale", "tf.cast(gradient, rate.dtype) / scale"),
        ("gradient", "tf.cast(gradient, rate.dtype)"),
    ),
    Mutant(
        "heads.stepping",
        "head_scaling",
        (
            "check_upstream(float(gradients[0]), ctx.settings.loss_scale)",
            "check_upstream(float(d_loss), float(scale) or None)",
        ),
        "pass",
    ),
    Mutant(
        "heads.stepping",
        "head_scaling",
        ("if not finite:", "tf.reduce_all(finite) & ("),
        ("if False:", "tf.reduce_all(finite) | ("),
    ),
    Mutant(
        ("heads.passes", "heads.stepping"),
        "head_scaling",
        ("may_step(update.settings, embeddings, *d_terms)", "tf.debugging.Assert(~scaled, said)"),
        ("may_step(update.settings, *d_terms)", "tf.debugging.Assert(True, said)"),
    ),
    Mutant(
        ("heads.stepping", "heads.head"),
        "head_scaling",
        ("rate = self.settings.rate", "inside &= parameters.steps_before != REFUSED"),
        ("rate = 0.1", "pass"),
    ),
    # what a loss tallies of its negatives, and a scale that follows the batch
    Mutant(
        "heads.blocks",
        "stands_for_k",
        ("values @ weights", "counted *= tf.exp(block.log_weights)"),
        ("values.sum(1)", "pass"),
    ),
    Mutant(
        "heads.blocks",
        "npcface",
        (
            "inputs.fill_target(each[name].to(cosines.dtype), 0)",
            "tf.where(left_out, tf.zeros_like(counted), counted)",
        ),
        ("each[name].to(cosines.dtype)", "counted"),
    ),
    Mutant(
        "heads.blocks",
        "npcface",
        ("tally = tally + _tally_block", "tally += _tally_block"),
        ("tally = _tally_block", "tally = _tally_block"),
    ),
    Mutant(
        "heads.measuring",
        "npcface",
        (
            "torch.where(is_own, 0, values.to(cosines.dtype))",
            "tf.where(is_own, 0, tf.cast(values, cosines.dtype))",
        ),
        ("values.to(cosines.dtype)", "tf.cast(values, cosines.dtype)"),
    ),
    Mutant("heads.state", "adacos", "ops.spec.looks_ahead and training", "training and False"),
    Mutant("heads.state", "adacos", "ops.finish(cosines, others, state)\n", "state\n"),
    Mutant("heads.blocks", "sface", '== "softplus"', '!= "softplus"'),
    # cosines with other classes above a limit
    Mutant("heads.blocks", "head_filter", "(cosines > limit", "(cosines < limit"),
    Mutant("heads.blocks", "head_filter", "self.limit * inputs.radius", "self.limit"),
    Mutant(
        "heads.blocks",
        "head_filter",
        ("torch.where(self.products > self.limit, 0, d_logits)", "if self.limit is not None:"),
        ("d_logits", "if False:"),
    ),
    Mutant("heads.blocks", "head_filter", "filter_cosines(best, self.limit)", "best"),
    Mutant(
        "heads.measuring", "head_filter", "filter_cosines(cosines, interclass_filter)", "cosines"
    ),
    # what a head tells beside its loss
    Mutant(
        "heads.measuring",
        "head_measuring",
        (
            "of_block.fill_target(logits, -torch.inf)",
            "tf.where(Masks(block, of_blocks).left_out, dtype.min, logits)",
        ),
        "logits",
    ),
    Mutant(
        "heads.measuring",
        "head_measuring",
        ("torch.where(target.here, own_bias, 0)", "target.zero_elsewhere(tf.cast(of_target"),
        ("own_bias * 0", "0 * target.zero_elsewhere(tf.cast(of_target"),
    ),
    Mutant(
        "heads.measuring",
        "head_measuring",
        ("torch.where(is_own, target", "tf.where(is_own, target"),
        ("torch.where(is_own, own", "tf.where(is_own, own"),
    ),
    # half precision
    Mutant(
        "heads.rounding",
        "sums_are_not_rounded",
        (
            "narrow_a.to(a.dtype), narrow_b.to(a.dtype), out=out",
            "tf.cast(tf.cast(values, tf.bfloat16),",
        ),
        ("narrow_a, narrow_b).to(a.dtype", "tf.cast(tf.cast(values + 1, tf.bfloat16),"),
    ),
    Mutant(
        "heads.rounding",
        "small_shares",
        ("torch.where(highest > 0, highest, 1)", "tf.where(highest > 0, highest,"),
        ("torch.ones_like(highest)", "tf.where(highest < 0, highest,"),
    ),
]
MUTANTS = [*HEADS, *(mutant for family in FAMILIES for mutant in paper(family).MUTANTS), *LAYERS]
