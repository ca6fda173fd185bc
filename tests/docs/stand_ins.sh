# What the pages' commands find in place of what takes minutes, a GPU or the network.
# Read by every bash that runs a block (BASH_ENV). Everything else is the real program.

# The servers: `serving.py` gives what was asked of them to vLLM's own parser.
_record() { (PYTHONPATH=$DOCS_ROOT exec "$DOCS_PYTHON" -m tests.docs.record "$@"); }
vllm() { _record vllm "$@"; }

sg-vllm() {
    case "${1:-}" in
    serve) _record sg-vllm "$@" ;;
    proxy) [[ " $* " == *" --help "* ]] && command sg-vllm "$@" || _stay "$@" ;;
    *) command sg-vllm "$@" ;;
    esac
}

# A server that a page leaves running: goes on in the background until the page ends, or
# starts another. The page's port, if it names none, is one that is free.
_stay() {
    local log process program
    program=$(type -P sg-vllm)
    _end_last
    [[ " $* " == *" --port "* ]] || set -- "$@" --port "$DOCS_PROXY_PORT"
    log=$(mktemp "$DOCS_FOLDER/stays.XXXXXX")
    "$program" "$@" >"$log" 2>&1 &
    process=$!
    echo "$process" >"$DOCS_FOLDER/left-running"
    for _ in $(seq 600); do
        grep -q 'http://' "$log" && return
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    return 1
}
_end_last() {
    local process
    [[ -e $DOCS_FOLDER/left-running ]] || return 0
    process=$(<"$DOCS_FOLDER/left-running")
    kill "$process" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    rm "$DOCS_FOLDER/left-running"
}

# `test_installing.py` installs.
pip() { _record pip "$@"; }

# Measuring takes minutes: that the command and its options exist is looked at here, and
# tests/test_benchmarks.py measures a little.
python() {
    case "$*" in
    "-m benchmarks."*) (cd "$DOCS_ROOT" && exec "$DOCS_PYTHON" "$@" --help) ;;
    "-m stainedglass_output_protection.vllm.entrypoint "*) shift 2 && _record sg-vllm "$@" ;;
    *) PYTHONPATH=$DOCS_ROOT command "$DOCS_PYTHON" "$@" ;;
    esac
}
