#!/bin/sh
# A week of a recommender, for cron or any other scheduler: weekly.sh LOG [RELEASE]
#
# The first time it trains on the log. After that it goes on from the release with the events that are new,
# publishes the model if it is not worse, and goes back if its lists are others than a week should make them.
# Status 0: published; 1: nothing was published, or it was rolled back, and the message says why; 3: a baseline
# is better; 4: rolled back for its lists.
set -eu
log=$1
release=${2:-saved_models/shop}

if [ ! -f "$release/manifest.json" ]; then
  exec tfrecall run examples/shop/shop.toml --data "$log" --out "$release" --set export.training_state=true
fi
tfrecall run --warm-start "$release" --data "$log" --set training.epochs=2 --unless-worse-than 0.05
status=0
tfrecall drift "$release@previous" "$release" --max-unknown-items 0.2 --min-overlap 0.1 || status=$?
if [ "$status" -ne 0 ]; then
  tfrecall rollback "$release"
fi
exit "$status"
