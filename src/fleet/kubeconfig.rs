//! What is wrong with a kubeconfig, in words that repeat nothing of it: an error of the parser shows the lines around the
//! place, and those may hold a token or a key.

use kube::config::KubeconfigError;

/// The error for people.
#[must_use]
pub fn in_words(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(parse) => {
            let place = parse.location().map(|at| format!(" at line {}, column {}", at.line(), at.column()));
            format!("it is no YAML of a kubeconfig{}", place.unwrap_or_default())
        }
        // Whoever asks knows which file it is.
        KubeconfigError::ReadConfig(why, _) => why.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::config::Kubeconfig;

    use super::*;

    #[test]
    fn nothing_of_a_kubeconfig_is_in_the_words_of_what_is_wrong_with_it() {
        for text in [
            "users:\n- name: one\n  user:\n    password: hunter2-SECRET\n    token: SECRET-token\n   bad: indent\n",
            "users:\n- user: {token: SECRET-token}\n",
            "users: SECRET-token\n",
            "clusters: [SECRET-token]\n",
        ] {
            let words = in_words(&Kubeconfig::from_yaml(text).unwrap_err());
            assert!(!words.contains("SECRET") && words.contains("kubeconfig"), "{words}");
        }
    }
}
