/**
 * `kv completion`: scripts by which a shell completes verbs, their first words and their flags. They complete
 * `statecraft-kv`, which is what the command is called once it is installed, and an alias `kv`.
 *
 * @module
 */
import { flagsOf, switches, valueFlags, verbHelps } from "./kv_help.ts";
import { UsageError } from "./usage.ts";

/** What the installed command may be called. */
const NAMES = ["statecraft-kv", "kv"];

const scripts: Readonly<Record<string, () => string>> = { bash, zsh, fish };

/** @throws {UsageError} If there is no script for the shell. */
export function completionOf(shell: string): string {
  const script = Object.hasOwn(scripts, shell) ? scripts[shell] : undefined;
  if (script !== undefined) return script();
  throw new UsageError(`completion takes ${Object.keys(scripts).join(", ")}, not "${shell}"`);
}

function longFlags(verb: string): string {
  return flagsOf(verb).map((name) => `--${name}`).join(" ");
}

function bash(): string {
  const cases = Object.entries(verbHelps).map(([verb, { choices = [] }]) =>
    `    ${verb}) words="${choices.join(" ")}"; flags="${longFlags(verb)}" ;;\n`
  ).join("");
  return `_statecraft_kv() {
  local current="\${COMP_WORDS[COMP_CWORD]}" words="" flags=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${Object.keys(verbHelps).join(" ")}" -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases}  esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$current")) ;;
    *)
      [ "$COMP_CWORD" -eq 2 ] || words=""
      COMPREPLY=($(compgen -W "$words" -- "$current"))
      [ \${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$current"))
      ;;
  esac
}
complete -F _statecraft_kv ${NAMES.join(" ")}
`;
}

function zsh(): string {
  const verbs = Object.entries(verbHelps).map(([verb, { forms }]) =>
    `    ${quote(`${verb}:${forms[0]!.text}`)}\n`
  ).join("");
  const cases = Object.entries(verbHelps).map(([verb, { choices = [] }]) =>
    `    ${verb}) words=(${choices.join(" ")}); flags=(${longFlags(verb)}) ;;\n`
  ).join("");
  return `#compdef ${NAMES.join(" ")}
_statecraft_kv() {
  local -a verbs words flags
  verbs=(
${verbs}  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  case "\${words[2]}" in
${cases}  esac
  if [[ "$PREFIX" == -* ]]; then
    compadd -- $flags
  elif (( CURRENT == 3 && $#words > 0 )); then
    compadd -- $words
  else
    _files
  fi
}
compdef _statecraft_kv ${NAMES.join(" ")}
`;
}

function fish(): string {
  return NAMES.flatMap((name) => {
    const begin = `complete -c ${name}`;
    return [
      `${begin} -f\n`,
      ...Object.entries(verbHelps).flatMap(([verb, { forms, choices = [] }]) => {
        const used = `-n "__fish_seen_subcommand_from ${verb}"`;
        const first = `${begin} -n __fish_use_subcommand -a ${verb} -d ${quote(forms[0]!.text)}\n`;
        const words = choices.length === 0 ? [] : [`${begin} ${used} -a "${choices.join(" ")}"\n`];
        const flags = flagsOf(verb).map((flag) => {
          const [value, text] = valueFlags[flag] ?? ["", switches[flag]!];
          return `${begin} ${used} -l ${flag}${value === "" ? "" : " -r"} -d ${quote(text)}\n`;
        });
        return [first, ...words, ...flags];
      }),
    ];
  }).join("");
}

/** A text as a shell takes it. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
