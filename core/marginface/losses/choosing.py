"""Which loss to take when: a part of docs/losses.md, each piece of advice with its figure."""

CHOOSING = """
## Which to take when

Start with `arcface` or `cosface`. No figure known to us compares all losses of this page on one set
with one recipe: published ones come from recipes that differ in more than the loss, and
[Results](results.md#wrong-labels) compares three of them, briefly trained. So each line has the
figure that it rests on, or says that there is none.
[arcface_torch](https://github.com/deepinsight/insightface) is InsightFace's README and its
configurations.

- **Clean, up to some hundred thousand people**: `arcface`, scale 64, margin 0.5. On MS1MV3 an r50
  comes to LFW 99.83 %, CFP-FP 98.96 %, AgeDB-30 98.35 % and IJB-C 96.37 % at FAR 1e-4
  (arcface_torch).
- **Clean, more people**: `cosface`, margin 0.4, as arcface_torch's runs on Glint360K, and on
  WebFace42M with r100 and ViTs. With `sample_rate` 0.3, ViT-B comes to 97.90 % on IJB-C at FAR
  1e-4. That ArcFace would be worse has no figure; ViTs with ArcFace are only said not to converge
  at that rate.
- **More people than fit**: the same with `sample_rate` 0.1. With 5.5 million classes, an r50 on
  eight V100 takes 3,975 images/s and 9,854 MB a device instead of 1,389 and 32,188
  (arcface_torch).
- **Noisy labels**: `cosface`, `sample_rate` 0.1, and `interclass_filter` 0.4, which leaves out
  negatives with a larger cosine.
  With 40 % of labels flipped, an r50 rises from 43.87 to 80.20 % on MFR-ALL and from 88.35 to
  96.11 % on IJB-C at FAR 1e-4 (arcface_torch). Both were changed at once. Alone, on 947 people with
  30 % wrong labels, the filter gave 1.9 points on people held out (95 % interval -0.9 to 4.7), a
  sample of 0.3 took 2.1, and `uss` was no better than `arcface`
  ([Results](results.md#wrong-labels)).
- **Noisy labels that you want to find**: `subcenter_arcface`, started from weights, then
  `marginface clean`. With 30 % wrong, 95.3 % of what 75 degrees dropped was wrong, 44.6 % of the
  wrong ones; from scratch only 39.1 % ([Results](results.md#wrong-labels)). Train on the kept
  images with `arcface`: three centres cost six points with five images a person.
- **Few people, no weights to start from**: `arcface`, scale 16, margin 0.2 to 0.3, small batches
  and more epochs. With 1,184 people of LFW, 91.7 % of pairs are right at scale 16 (12 epochs),
  90.6 % at scale 32 (16 epochs), both at margin 0.3 in batches of 32; one run each, with a
  standard error of one point ([Results](results.md#trained-here-the-small-set-recipe)).
- **Few people, and weights**: [fine-tune](fine_tuning.md). LFW, View 1, ten folds: with 947 people
  98.77 ± 0.12 % instead of 85.50 ± 0.50 % from scratch, with 20 people 98.87 ± 0.06 % instead of
  75.63 ± 2.85 % ([Results](results.md#fine-tuned)).
- **Images of low quality**: `magface` or `adaface`. No figure for their accuracy. Clear images
  have longer embeddings; what [rejecting by norm](evaluation.md#rejecting-by-quality) or [a score
  with the norm](evaluation.md#scores-with-the-norm) is worth is measured on your pairs.
- **Hard negatives**: `curricularface`, `mv_am`, `mv_arc`, `arcnegface` and `circle` weight them.
  No figure here sets one apart from `arcface`.
- **Scale and margin**: users report 0.45 to 0.5 as ArcFace's best margins, a scale of 5 to 10 for
  a hundred people in small batches, and that embeddings of fewer than 512 numbers diverge from
  scratch with ArcFace. None of this has a figure. At scale 16 and margin 0.2, 128 numbers did not
  diverge here: 89.30 % after five epochs, in both frameworks ([Results](results.md)).
"""
