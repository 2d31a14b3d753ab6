//! What is said over HTTP.

use serde::{Deserialize, Serialize};

/// Money that goes from one account to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Chosen by whoever asks: a transfer that is asked for again is made once.
    pub id: String,
    /// The account that it is taken from.
    pub debit: u32,
    /// The account that it is given to.
    pub credit: u32,
    /// More than nothing.
    pub amount: i64,
    /// What for.
    pub purpose: String,
}

/// An account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Counts from 0.
    pub id: u32,
    /// Never below nothing.
    pub balance: i64,
}

/// All accounts and transfers, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// In order.
    pub accounts: Vec<Account>,
    /// In order of their ids.
    pub transfers: Vec<Transfer>,
}

impl Books {
    /// What does not add up: the balances must be those of a new bank after all these transfers.
    #[must_use]
    pub fn mistakes(&self, opening_balance: i64) -> Vec<String> {
        let sum_of = |pick: fn(&Transfer) -> u32, account: u32| -> i64 {
            self.transfers.iter().filter(|transfer| pick(transfer) == account).map(|transfer| transfer.amount).sum()
        };
        let expected = |id| opening_balance - sum_of(|transfer| transfer.debit, id) + sum_of(|t| t.credit, id);
        let wrong = self.accounts.iter().filter(|account| account.balance != expected(account.id));
        let told = wrong.map(|Account { id, balance }| format!("account {id} has {balance}, not {}", expected(*id)));
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_transfer_is_a_mistake() {
        let purpose = String::new();
        let transfer = Transfer { id: "a".into(), debit: 0, credit: 1, amount: 3, purpose };
        let books = |first, second, transfers: &[Transfer]| Books {
            accounts: vec![Account { id: 0, balance: first }, Account { id: 1, balance: second }],
            transfers: transfers.to_vec(),
        };
        assert_eq!(books(10, 10, &[]).mistakes(10), [""; 0]);
        assert_eq!(books(7, 13, std::slice::from_ref(&transfer)).mistakes(10), [""; 0]);
        assert_eq!(books(7, 10, &[transfer]).mistakes(10), ["account 1 has 10, not 13"]);
        assert_eq!(books(7, 13, &[]).mistakes(10).len(), 2);
    }
}
