# Runs tests, one a process, as cargo-nextest does: `one USER DIRECTORY BINARY SUITE TEST`. Sourced by the list of them.
# What people read goes to the output, what xtask counts to descriptor 3: `test VERDICT HUNDREDTHS USER SUITE TEST`.
output=/run/vm/test-output

now() { read -r up _ < /proc/uptime; echo "${up%.*}${up#*.}"; }

one() {
    cd "$2" || return
    as= require=real
    # Some faults need root: an ordinary user's tests may skip what is not for them.
    if [ "$1" = nobody ]; then as=/run/vm/as-nobody require=; fi
    begin=$(now)
    env -u CHAOS_REQUIRE ${require:+CHAOS_REQUIRE=$require} WINDTUNNEL_EMULATED=1 timeout -k 5 "$limit" \
        $as "$3" --exact "$5" --nocapture > $output 2>&1 3>&-
    code=$?
    hundredths=$(($(now) - begin))
    case $code in
        0) verdict=passed ;;
        124 | 137 | 143) verdict=late ;;
        *) verdict=failed ;;
    esac
    if [ $code = 0 ] && grep -q -e 'skipped: ' -e '; 1 ignored;' $output; then verdict=skipped; fi
    printf 'vm: %-7s in %3d.%02d s  %-6s  %s %s\n' $verdict $((hundredths / 100)) $((hundredths % 100)) "$1" "$4" "$5"
    case $verdict in
        skipped) sed -n 's/^.*skipped: /            /p' $output ;;
        failed | late) sed 's/^/    /' $output ;;
    esac
    echo "test $verdict $hundredths $1 $4 $5" >&3
}
