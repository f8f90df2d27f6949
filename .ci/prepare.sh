# What ./run and ./test share: finding or installing what a fresh machine lacks, and building the console.
# Sourced, never run. POSIX sh. Installs only Debian packages by name, and everything else into .test-env;
# never asks: where it may not install, it says what to type.

here=$(pwd)
env_dir="$here/.test-env"
export PATH="$env_dir/node_modules/.bin:$PATH"

say() { printf '%s\n' "$*"; }
die() { printf 'espush: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND...: runs it with the right to install; fails where there is none.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo && sudo -n true 2>/dev/null; then sudo -n "$@"; else return 126; fi
}

# packages NAME...: installs the Debian packages of these that are missing.
packages() {
    missing=
    for name in "$@"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing="$missing $name"
    done
    [ -n "$missing" ] || return 0
    have apt-get || die "please install (by the names of your system):$missing"
    say "installing$missing"
    # shellcheck disable=SC2086  # the names are words
    install_log=$(as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing 2>&1) && return 0
    # The package list of a fresh machine is empty or old: fetch it and try once more.
    # shellcheck disable=SC2086
    install_log=$(as_root apt-get update 2>&1 && as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $missing 2>&1) && return 0
    printf '%s\n' "$install_log" | tail -n 5 >&2
    die "please run: sudo apt-get install -y$missing"
}

# The real Mosquitto, which the tests ask for its opinion. Its package would start it on port 1883, now and at
# every boot: a test must not leave a broker running that nobody asked for.
need_mosquitto() {
    [ -x /usr/sbin/mosquitto ] || have mosquitto && return 0
    have systemctl && as_root systemctl mask mosquitto.service >/dev/null 2>&1
    (packages mosquitto)
    installed=$?
    have systemctl && as_root systemctl unmask mosquitto.service >/dev/null 2>&1 && as_root systemctl disable mosquitto.service >/dev/null 2>&1
    return $installed
}

need_cargo() {
    have cargo || PATH="$HOME/.cargo/bin:$PATH"
    have cargo || die "cargo is missing. Install Rust from https://rustup.rs (or: apt-get install rustup && rustup default stable), then start me again."
    wanted=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' Cargo.toml)
    found=$(cargo --version | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p')
    [ "${found:-0}" -ge "$wanted" ] || die "Rust 1.$wanted or newer is needed, this is $(cargo --version). Run: rustup update stable"
}

# A C compiler for SQLite and OpenSSL, which are built along; OpenSSL's own build wants make and Perl too.
need_compiler() {
    { have cc && have make; } || packages build-essential
    perl -MFindBin -MIPC::Cmd -e 1 2>/dev/null || packages perl
}

# The console is built with Vite, which needs Node 20.19 or newer. Debian 12 has 18: there, npm brings a newer one along.
node_is_good() {
    have node && have npm && node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'
}

need_node() {
    node_is_good && return 0
    { have node && have npm; } || packages nodejs npm
    node_is_good && return 0
    say "node $(node --version) is too old for the console, fetching a newer one into .test-env"
    mkdir -p "$env_dir"
    npm install --prefix "$env_dir" --no-save --no-fund --no-audit node@22 >"$env_dir/node.log" 2>&1 || {
        tail -n 5 "$env_dir/node.log" >&2
        die "Node 20.19 or newer is needed and could not be fetched. Install one (https://nodejs.org), then start me again."
    }
    hash -r # forget where the old one was
    node_is_good || die "Node 20.19 or newer is needed. Install one (https://nodejs.org), then start me again."
}

# npm_ci DIR: installs what DIR's lock file names, unless that was done before.
npm_ci() {
    stamp="$1/node_modules/.package-lock.json"
    if [ -f "$stamp" ] && [ -z "$(find "$1/package.json" "$1/package-lock.json" -newer "$stamp")" ]; then return 0; fi
    (cd "$1" && npm ci --no-fund --no-audit)
}

web=crates/console/web

console_is_fresh() {
    [ -f $web/build/index.html ] || return 1
    [ -z "$(find $web -path $web/node_modules -prune -o -path $web/build -prune -o -path $web/.svelte-kit -prune \
        -o -path $web/src/lib/paraglide -prune -o -type f -newer $web/build/index.html -print | head -n 1)" ]
}
